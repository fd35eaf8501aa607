/* Fuzzer of batch_decode(): what it accepts must encode back to the same bytes. */
#include "batch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct assent_bytes commands[ASSENT_ENTRY_COMMANDS_MAX];
    if (size > ASSENT_ENTRY_BYTES_MAX) {
        return 0;
    }
    struct entry *e = entry_new(ENTRY_COMMAND, (uint32_t)size);
    assert(e != NULL);
    memcpy(e->payload, data, size);
    struct batch b;
    if (batch_decode(e, &b)) {
        const uint8_t *at = b.commands;
        for (uint32_t i = 0; i < b.n; i++) {
            commands[i] = (struct assent_bytes){at, batch_command_size(&b, i)};
            at += commands[i].size;
        }
        assert(at == e->payload + e->size);
        struct entry *again = entry_new(ENTRY_COMMAND, batch_size(b.n, (uint32_t)(at - b.commands)));
        batch_encode(again, b.time_us, commands, b.n);
        assert(again->size == e->size && memcmp(again->payload, e->payload, e->size) == 0);
        entry_unref(again);
    }
    entry_unref(e);
    return 0;
}
