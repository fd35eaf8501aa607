/* Commands and queries as a client may send them: what the door accepts, the state machine must bear. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sm_harness.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sm_harness h;
static char image[300];
static struct codec_arena arena;

/* A state in which the seeds' names mean something. */
static const struct {
    uint32_t type;
    const char *args;
} before[] = {
    {COMMAND_SESSION_OPEN, "{}"},
    {COMMAND_NODE_REGISTER, "{'node':'n'}"},
    {COMMAND_VECTOR_JOIN, "{'clock':'c','node':'n'}"},
    {COMMAND_VECTOR_JOIN, "{'clock':'c','node':'a'}"},
    {COMMAND_VECTOR_TICK, "{'clock':'c','node':'n'}"},
    {COMMAND_VERSION_INCREMENT, "{'object':'o','node':'n','value':{'x':1}}"},
    {COMMAND_VERSION_INCREMENT, "{'object':'o','node':'m','value':{'x':2}}"},
    {COMMAND_TIMESTAMP_EVENT, "{'eventId':'e','node':'n','type':'t','business':'b'}"},
    {COMMAND_TXN_BEGIN, "{'xid':'x','timeoutMs':60000,'branches':[{'branch':'b','confirmUrl':'http://h/c',"
                        "'cancelUrl':'http://h/x'}]}"},
    {COMMAND_TOPIC_SUBSCRIBE, "{'topic':'t','url':'http://h/a'}"},
    {COMMAND_TOPIC_SUBSCRIBE, "{'topic':'t','url':'http://h/b'}"},
    {COMMAND_MESSAGE_PREPARE, "{'xid':'m','queryUrl':'http://h/q','steps':[{'actionUrl':'topic://t'}]}"},
    {COMMAND_WORKFLOW_PREPARE, "{'xid':'w','callbackUrl':'http://h/w'}"},
    {COMMAND_BUSINESS_PUT, "{'businessType':'b','mode':'SAGA','steps':[{'actionUrl':'http://h/a'}]}"},
};

static void leave(void)
{
    codec_arena_close(&arena);
    sm_harness_close(&h);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    uint64_t size, digest;
    (void)argc, (void)argv;
    sm_harness_open(&h);
    codec_arena_init(&arena);
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++)
        sm_run(&h, before[i].type, before[i].args);
    snprintf(image, sizeof image, "%s/before", h.dir);
    if (sm_dump(h.sm, sm_pin(h.sm), image, &size, &digest) != ASSENT_OK)
        abort();
    atexit(leave);
    return 0;
}

static void check_result(struct assent_bytes bytes)
{
    struct result r;
    if (!result_decode(&arena, bytes, &r) || assent_error_by_name(assent_error_name(r.code)) != r.code)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assent_bytes bytes = {data, size};
    struct command c;
    struct result r;
    char why[64], err[256];
    check_result(sm_query(h.sm, bytes));
    result_decode(&arena, bytes, &r);
    if (command_decode(&arena, bytes, false, true, &c, why, sizeof why) != ASSENT_OK)
        return 0;
    if (sm_restore(h.sm, image, err, sizeof err) != ASSENT_OK)
        abort();
    h.index = sm_applied_index(h.sm);
    for (int i = 0; i < 2; i++) {
        struct sm_command run = {.index = ++h.index, .time_us = h.now_us, .command = bytes, .awaited = true};
        sm_apply(h.sm, &run, 1, h.index);
        check_result(run.result);
    }
    h.now_us += INT64_C(86400) * 30 * 1000000;
    sm_run(&h, COMMAND_TICK, "{}");
    h.now_us -= INT64_C(86400) * 30 * 1000000;
    return 0;
}
