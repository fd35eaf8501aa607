/* A switch for Ethernet in the judge; see switch.h.
 *
 * Frames wait in a heap ordered by when they are due, ties by arrival; a full heap drops, as a switch does.
 */
#include "switch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PORTS_MAX  16
#define FRAME_MAX  2048 /* no offloads are asked for: an Ethernet frame has 1514 bytes at most */
#define FRAMES_MAX 8192
#define MAC        6
#define QUEUE_US   250000 /* of a narrow cable; more is dropped */

struct frame {
    uint64_t due_us, number;
    uint32_t port, size;
    uint8_t bytes[FRAME_MAX];
};

struct tap_switch {
    pthread_t thread;
    pthread_mutex_t lock;                           /* of rules, free_us, heap, stop */
    struct switch_rule rules[PORTS_MAX][PORTS_MAX]; /* by port; those of port 0 stay empty */
    uint64_t free_us[PORTS_MAX][PORTS_MAX];         /* when a narrow cable has sent what waits */
    struct frame *heap[FRAMES_MAX];
    uint32_t heap_n;
    bool stop;
    uint32_t n; /* the thread's own from here on */
    int taps[PORTS_MAX];
    uint8_t mac[PORTS_MAX][MAC];
    uint64_t random, numbers;
};

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint32_t dice(struct tap_switch *s, uint32_t n)
{
    s->random = s->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return n == 0 ? 0 : (uint32_t)(s->random >> 33) % n;
}

static bool before(const struct frame *a, const struct frame *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->number < b->number;
}

static void heap_swap(struct tap_switch *s, uint32_t a, uint32_t b)
{
    struct frame *f = s->heap[a];
    s->heap[a] = s->heap[b];
    s->heap[b] = f;
}

static void heap_push(struct tap_switch *s, struct frame *f)
{
    uint32_t i = s->heap_n++;
    s->heap[i] = f;
    for (; i > 0 && before(s->heap[i], s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap_swap(s, i, (i - 1) / 2);
}

static struct frame *heap_pop(struct tap_switch *s)
{
    struct frame *first = s->heap[0];
    s->heap[0] = s->heap[--s->heap_n];
    for (uint32_t i = 0;;) {
        uint32_t least = i;
        for (uint32_t k = 2 * i + 1; k <= 2 * i + 2; k++)
            if (k < s->heap_n && before(s->heap[k], s->heap[least]))
                least = k;
        if (least == i)
            return first;
        heap_swap(s, i, least);
        i = least;
    }
}

/* When the last bit of a frame has passed a cable of this rate; 0: the queue is full. */
static uint64_t narrow(uint64_t *free_us, uint32_t rate_kbit, uint32_t size, uint64_t now)
{
    uint64_t start = *free_us > now ? *free_us : now;
    if (start - now > QUEUE_US)
        return 0;
    *free_us = start + UINT64_C(8000) * size / rate_kbit;
    return *free_us;
}

static void hold(struct tap_switch *s, uint32_t from, uint32_t to, const uint8_t *bytes, uint32_t size)
{
    const struct switch_rule *rule = &s->rules[from][to];
    uint64_t due = now_us();
    if (rule->rate_kbit > 0 && (due = narrow(&s->free_us[from][to], rule->rate_kbit, size, due)) == 0)
        return;
    struct frame *f = s->heap_n < FRAMES_MAX ? malloc(sizeof *f) : NULL;
    if (f == NULL)
        return;
    f->due_us =
        due + UINT64_C(1000) * rule->delay_ms + (rule->jitter_ms > 0 ? dice(s, 1000 * rule->jitter_ms) : 0);
    f->number = s->numbers++;
    f->port = to;
    f->size = size;
    memcpy(f->bytes, bytes, size);
    if (size > 14 && rule->damaged > 0 &&
        dice(s, 100) < rule->damaged) /* behind the addresses, so it still arrives */
        f->bytes[14 + dice(s, size - 14)] ^= (uint8_t)(1u << dice(s, 8));
    heap_push(s, f);
}

static void carry(struct tap_switch *s, uint32_t from, const uint8_t *bytes, uint32_t size)
{
    if (size < 14)
        return;
    memcpy(s->mac[from], bytes + MAC, MAC);
    bool all = bytes[0] & 1;
    uint32_t known = PORTS_MAX;
    for (uint32_t i = 0; !all && i < s->n; i++)
        known = i != from && memcmp(s->mac[i], bytes, MAC) == 0 ? i : known;
    for (uint32_t to = 0; to < s->n; to++) {
        if (to == from || (known != PORTS_MAX && to != known))
            continue;
        const struct switch_rule *rule = &s->rules[from][to];
        if (rule->lost > 0 && dice(s, 100) < rule->lost)
            continue;
        hold(s, from, to, bytes, size);
        if (rule->doubled > 0 && dice(s, 100) < rule->doubled)
            hold(s, from, to, bytes, size);
    }
}

/* Hand out what is due; how long until the next, in milliseconds. */
static int deliver(struct tap_switch *s)
{
    while (s->heap_n > 0) {
        uint64_t now = now_us();
        if (s->heap[0]->due_us > now)
            return (int)((s->heap[0]->due_us - now) / 1000) + 1;
        struct frame *f = heap_pop(s);
        if (write(s->taps[f->port], f->bytes, f->size) < 0 && errno == EBADF)
            abort();
        free(f); /* a port that takes no more loses it */
    }
    return 50;
}

static void *run(void *data)
{
    struct tap_switch *s = data;
    struct pollfd ports[PORTS_MAX];
    uint8_t bytes[FRAME_MAX];
    int wait_ms = 0;
    for (uint32_t i = 0; i < s->n; i++)
        ports[i] = (struct pollfd){.fd = s->taps[i], .events = POLLIN};
    for (bool stop = false; !stop;) {
        poll(ports, s->n, wait_ms);
        pthread_mutex_lock(&s->lock);
        for (uint32_t i = 0; i < s->n; i++) {
            ssize_t size = 0;
            for (int k = 0; k < 64 && (size = read(s->taps[i], bytes, sizeof bytes)) > 0; k++)
                carry(s, i, bytes, (uint32_t)size);
        }
        wait_ms = deliver(s);
        stop = s->stop;
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

struct tap_switch *switch_open(const int *taps, uint32_t n)
{
    struct tap_switch *s = n <= PORTS_MAX ? calloc(1, sizeof *s) : NULL;
    if (s != NULL) {
        s->n = n;
        s->random = 1;
        memcpy(s->taps, taps, n * sizeof *taps);
        pthread_mutex_init(&s->lock, NULL);
        if (pthread_create(&s->thread, NULL, run, s) == 0)
            return s;
    }
    for (uint32_t i = 0; i < n; i++)
        close(taps[i]);
    free(s);
    return NULL;
}

void switch_set(struct tap_switch *s, uint32_t from, uint32_t to, const struct switch_rule *rule)
{
    pthread_mutex_lock(&s->lock);
    s->rules[1 + from][1 + to] = *rule;
    pthread_mutex_unlock(&s->lock);
}

void switch_heal(struct tap_switch *s)
{
    pthread_mutex_lock(&s->lock);
    memset(s->rules, 0, sizeof s->rules);
    memset(s->free_us, 0, sizeof s->free_us);
    for (uint32_t i = 0; i < s->heap_n; i++)
        free(s->heap[i]);
    s->heap_n = 0;
    pthread_mutex_unlock(&s->lock);
}

void switch_close(struct tap_switch *s)
{
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    switch_heal(s);
    for (uint32_t i = 0; i < s->n; i++)
        close(s->taps[i]);
    free(s);
}
