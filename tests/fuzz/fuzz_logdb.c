/* Fuzzer of logdb_decode(): the value of an entry as it lies in the log.  Input: index u64 | value. */
#include "logdb.h"

#include <assert.h>
#include <string.h>

#include "batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t index;
    struct entry *e;
    if (size < sizeof index) {
        return 0;
    }
    memcpy(&index, data, sizeof index);
    struct assent_bytes value = {data + sizeof index, size - sizeof index};
    if (logdb_decode(index, value, &e) == 0) {
        struct batch b;
        assert(e->index == index && e->crc == entry_crc(e));
        assert(e->size == value.size - LOGDB_VALUE_HEADER);
        batch_decode(e, &b);
        entry_unref(e);
    }
    return 0;
}
