/* Tests of raftlog/batch.c: round trip, pinned bytes, and every way a payload can fail to be a batch. */
#include "batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BYTES(text) ((struct assent_bytes){(const uint8_t *)(text), strlen(text)})

static struct entry *make(int64_t time_us, const struct assent_bytes *commands, uint32_t n)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        bytes += (uint32_t)commands[i].size;
    }
    struct entry *e = entry_new(ENTRY_COMMAND, batch_size(n, bytes));
    assert_non_null(e);
    batch_encode(e, time_us, commands, n);
    return e;
}

static void commands_come_back_as_they_went_in(void **state)
{
    (void)state;
    const struct assent_bytes commands[] = {BYTES("a"), BYTES("second"), BYTES("the third command")};
    struct entry *e = make(-5, commands, 3);
    struct batch b;
    assert_true(batch_decode(e, &b));
    assert_int_equal(b.time_us, -5);
    assert_int_equal(b.n, 3);
    const uint8_t *at = b.commands;
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(batch_command_size(&b, i), commands[i].size);
        assert_memory_equal(at, commands[i].base, commands[i].size);
        at += commands[i].size;
    }
    assert_ptr_equal(at, e->payload + e->size);
    entry_unref(e);
}

static void a_full_batch_fits(void **state)
{
    (void)state;
    static struct assent_bytes commands[ASSENT_ENTRY_COMMANDS_MAX];
    for (uint32_t i = 0; i < ASSENT_ENTRY_COMMANDS_MAX; i++) {
        commands[i] = BYTES("x");
    }
    struct entry *e = make(1, commands, ASSENT_ENTRY_COMMANDS_MAX);
    struct batch b;
    assert_true(batch_decode(e, &b));
    assert_int_equal(b.n, ASSENT_ENTRY_COMMANDS_MAX);
    entry_unref(e);
}

static void bytes_are_pinned(void **state)
{
    (void)state;
    const struct assent_bytes commands[] = {BYTES("ab"), BYTES("c")};
    struct entry *e = make(0x0102030405060708, commands, 2);
    const uint8_t golden[] = {1, 0, 2, 0, 8, 7, 6, 5, 4, 3, 2, 1, 2, 0, 0, 0, 1, 0, 0, 0, 'a', 'b', 'c'};
    assert_int_equal(e->size, sizeof golden);
    assert_memory_equal(e->payload, golden, sizeof golden);
    entry_unref(e);
}

/* One row: a payload that is no batch, and why. */
struct refused_row {
    const char *why;
    uint8_t type;
    uint32_t size;
    uint8_t bytes[24];
};

static void malformed_payloads_are_refused(void **state)
{
    (void)state;
    static const struct refused_row rows[] = {
        {"empty", ENTRY_COMMAND, 0, {0}},
        {"short header", ENTRY_COMMAND, 11, {1, 0, 1}},
        {"no commands", ENTRY_COMMAND, 12, {1, 0, 0, 0}},
        {"format 2", ENTRY_COMMAND, 17, {2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'a'}},
        {"reserved byte", ENTRY_COMMAND, 17, {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'a'}},
        {"size table cut", ENTRY_COMMAND, 15, {1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}},
        {"command cut", ENTRY_COMMAND, 17, {1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 'a'}},
        {"bytes left over", ENTRY_COMMAND, 18, {1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'a', 'b'}},
        {"empty command", ENTRY_COMMAND, 16, {1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
        {"huge command", ENTRY_COMMAND, 17, {1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 'a'}},
        {"too many commands", ENTRY_COMMAND, 12, {1, 0, 255, 255}},
        {"sizes that wrap", ENTRY_COMMAND, 21, {1, 0,   2,   0,   0,   0, 0, 0, 0, 0,  0,
                                                0, 255, 255, 255, 255, 2, 0, 0, 0, 'a'}},
        {"not a command entry", ENTRY_BARRIER, 17, {1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'a'}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct entry *e = entry_new(rows[i].type, rows[i].size);
        struct batch b;
        memcpy(e->payload, rows[i].bytes, rows[i].size);
        if (batch_decode(e, &b)) {
            fail_msg("accepted: %s", rows[i].why);
        }
        entry_unref(e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_come_back_as_they_went_in),
        cmocka_unit_test(a_full_batch_fits),
        cmocka_unit_test(bytes_are_pinned),
        cmocka_unit_test(malformed_payloads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
