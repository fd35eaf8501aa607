/* Tests of raftlog/entry.c: the checksum and what it covers, reference counts. */
#include "entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "assent/limits.h"

static void crc32c_agrees_with_published_vectors(void **state)
{
    (void)state;
    uint8_t zeros[32] = {0}, ones[32], up[32], down[32];
    memset(ones, 0xff, sizeof ones);
    for (uint8_t i = 0; i < 32; i++) {
        up[i] = i;
        down[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(crc32c(0, "", 0), 0);
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283u);
    assert_int_equal(crc32c(0, zeros, 32), 0x8A9136AAu); /* RFC 3720 B.4 from here on */
    assert_int_equal(crc32c(0, ones, 32), 0x62A8AB43u);
    assert_int_equal(crc32c(0, up, 32), 0x46DD794Eu);
    assert_int_equal(crc32c(0, down, 32), 0x113FDB5Cu);
}

static void crc32c_chains_at_every_split(void **state)
{
    (void)state;
    const char *text = "the quick brown fox jumps over the lazy dog, and over the log";
    size_t size = strlen(text);
    uint32_t whole = crc32c(0, text, size);
    for (size_t split = 0; split <= size; split++) {
        assert_int_equal(crc32c(crc32c(0, text, split), text + split, size - split), whole);
    }
}

static void seal_covers_index_term_type_size_and_payload(void **state)
{
    (void)state;
    struct entry *e = entry_new(ENTRY_COMMAND, 8);
    assert_non_null(e);
    assert_int_equal(e->crc, 0);
    memcpy(e->payload, "payload!", 8);
    entry_seal(e, 7, 3);
    assert_int_equal(e->index, 7);
    assert_int_equal(e->term, 3);
    uint32_t crc = e->crc;
    assert_int_equal(entry_crc(e), crc);
    e->index = 8;
    assert_int_not_equal(entry_crc(e), crc);
    e->index = 7;
    e->term = 4;
    assert_int_not_equal(entry_crc(e), crc);
    e->term = 3;
    e->type = ENTRY_BARRIER;
    assert_int_not_equal(entry_crc(e), crc);
    e->type = ENTRY_COMMAND;
    e->size = 7;
    assert_int_not_equal(entry_crc(e), crc);
    e->size = 8;
    e->payload[3] ^= 0x10;
    assert_int_not_equal(entry_crc(e), crc);
    e->payload[3] ^= 0x10;
    assert_int_equal(entry_crc(e), crc);
    entry_unref(e);
}

static void checksum_is_pinned(void **state)
{
    (void)state;
    /* It stands on disk and on the wire: it may never change.  Computed independently, bit by bit. */
    struct entry *e = entry_new(ENTRY_CHANGE, 3);
    memcpy(e->payload, "abc", 3);
    entry_seal(e, 0x0102030405060708, 9);
    const uint8_t bytes[] = {8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 'a', 'b', 'c'};
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < sizeof bytes; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1)));
        }
    }
    assert_int_equal(e->crc, ~crc);
    entry_unref(e);
}

static void references_keep_an_entry_alive(void **state)
{
    (void)state;
    struct entry *e = entry_new(ENTRY_BARRIER, 0);
    assert_ptr_equal(entry_ref(e), e);
    entry_unref(e);
    entry_seal(e, 1, 1); /* a use after free here is the address sanitizer's to find */
    entry_unref(e);
    entry_unref(NULL);
}

static void oversize_entries_are_refused(void **state)
{
    (void)state;
    assert_null(entry_new(ENTRY_COMMAND, ASSENT_ENTRY_BYTES_MAX + 1));
    struct entry *e = entry_new(ENTRY_COMMAND, ASSENT_ENTRY_BYTES_MAX);
    assert_non_null(e);
    entry_unref(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_agrees_with_published_vectors),
        cmocka_unit_test(crc32c_chains_at_every_split),
        cmocka_unit_test(seal_covers_index_term_type_size_and_payload),
        cmocka_unit_test(checksum_is_pinned),
        cmocka_unit_test(references_keep_an_entry_alive),
        cmocka_unit_test(oversize_entries_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
