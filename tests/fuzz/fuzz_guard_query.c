/* The query string of a participant's call: whatever it holds, the guard takes it whole or refuses it. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "assent/guard.h"

static void whole(const char *text, size_t max)
{
    size_t n = strnlen(text, max + 1);
    assert(n > 0 && n <= max);
    for (size_t i = 0; i < n; i++)
        assert((unsigned char)text[i] >= ' ' && text[i] != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *query = malloc(size + 1);
    struct assent_guard_call call;
    assert(query != NULL);
    if (size > 0)
        memcpy(query, data, size);
    query[size] = 0;
    int rc = assent_guard_call_query(&call, query);
    assert(rc == ASSENT_OK || rc == ASSENT_MALFORMED || rc == ASSENT_INVALID || rc == ASSENT_TOO_LARGE);
    if (rc == ASSENT_OK) {
        whole(call.trans_type, ASSENT_GUARD_WORD_BYTES_MAX);
        whole(call.gid, ASSENT_GUARD_ID_BYTES_MAX);
        whole(call.branch, ASSENT_GUARD_ID_BYTES_MAX);
        whole(call.op, ASSENT_GUARD_WORD_BYTES_MAX);
        assent_guard_origin(call.op);
        assert(call.uses == 0);
    }
    free(query);
    return 0;
}
