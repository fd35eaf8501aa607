/* Timestamp requests: those that wait share a frame, several frames are under way.
 *
 * A request may only use timestamps whose frame left after the request was made (the leader confirms its
 * leadership after the frame arrived), so nobody joins a frame that is out. */
#include <assert.h>

#include "internal.h"

static struct call *call_of(struct ring *member)
{
    return (struct call *)(void *)((char *)member - offsetof(struct call, ring));
}

/* Move waiting requests into `frame` while their sum fits one.  Returns the sum. */
static uint32_t gather(struct assent_async *c, struct tso_frame *frame)
{
    uint32_t sum = 0;
    while (!ring_empty(&c->stamps)) {
        struct call *call = call_of(c->stamps.next);
        if (call->count > ASSENT_COUNT_MAX - sum) {
            break;
        }
        sum += call->count;
        ring_remove(&call->ring);
        ring_append(&frame->calls, &call->ring);
        call->on_wire = true;
    }
    return sum;
}

void tso_send(struct assent_async *c, struct codec_writer *w)
{
    for (uint32_t i = 0; i < TSO_FRAMES_MAX && !ring_empty(&c->stamps); i++) {
        struct tso_frame *frame = &c->frames[i];
        if (frame->id != 0) {
            continue;
        }
        uint32_t sum = gather(c, frame);
        assert(sum > 0);
        frame->id = client_next_id(c, ID_SLOT_TSO + i);
        size_t mark = frame_open(w, FRAME_TSO, frame->id, 2);
        codec_uint(w, sum);
        codec_bool(w, true);
        frame_close(w, mark);
        c->stats.tso_frames++;
    }
}

/* Put what is left of a frame back in front of those that wait. */
static void requeue(struct assent_async *c, struct tso_frame *frame, int code)
{
    frame->id = 0;
    while (!ring_empty(&frame->calls)) {
        struct call *call = call_of(frame->calls.prev);
        ring_remove(&call->ring);
        ring_prepend(&c->stamps, &call->ring);
        call->on_wire = false;
        call->last_code = code;
    }
}

void tso_answer(struct assent_async *c, uint32_t slot, uint64_t id, uint64_t first, uint32_t count)
{
    struct tso_frame *frame = &c->frames[slot];
    if (frame->id != id) {
        return;
    }
    while (!ring_empty(&frame->calls)) {
        struct call *call = call_of(frame->calls.next);
        if (call->count > count) {
            break; /* granted less than asked for: the rest asks again */
        }
        struct assent_reply reply;
        reply_from_code(&reply, ASSENT_OK);
        reply.first = first;
        reply.count = call->count;
        first += call->count;
        count -= call->count;
        client_finish(c, call, &reply);
    }
    requeue(c, frame, 0);
}

void tso_failed(struct assent_async *c, uint32_t slot, uint64_t id, int code)
{
    struct tso_frame *frame = &c->frames[slot];
    if (frame->id != id) {
        return;
    }
    if (retry_decide(code, true) != RETRY_SURFACE) {
        requeue(c, frame, code);
        return;
    }
    while (!ring_empty(&frame->calls)) {
        client_fail(c, call_of(frame->calls.next), code);
    }
    frame->id = 0;
}

void tso_requeue_all(struct assent_async *c)
{
    for (uint32_t i = 0; i < TSO_FRAMES_MAX; i++) {
        requeue(c, &c->frames[i], 0);
    }
}

bool tso_under_way(const struct assent_async *c)
{
    for (uint32_t i = 0; i < TSO_FRAMES_MAX; i++) {
        if (c->frames[i].id != 0) {
            return true;
        }
    }
    return false;
}
