/* Histories read back as they were written, and malformed ones are refused by the rule they break (catalogue
 * M16). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "history.h"
#include "verdict.h"

static int read_text(const char *text, struct history *h, char *err, size_t err_size)
{
    history_init(h);
    FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    assert_non_null(in);
    int rv = history_read_stream(in, h, err, err_size);
    fclose(in);
    return rv;
}

#define LINE(index, time, process, type, f, rest)                                                            \
    "{\"index\":" #index ",\"time\":" #time ",\"process\":" #process ",\"type\":\"" type "\",\"f\":\"" f     \
    "\"" rest "}\n"

static const char sample[] = LINE(0, 1000, 0, "invoke", "write", ",\"key\":7,\"value\":1")
    LINE(1, 1200, 1, "invoke", "read", ",\"key\":7,\"value\":null")
        LINE(2, 1300, "nemesis", "info", "kill", ",\"value\":{\"a\":[1,\"x\"]},\"node\":\"n1\"")
            LINE(3, 5001000, 0, "info", "write", ",\"key\":7,\"value\":1,\"error\":\"timeout\"")
                LINE(4, 5002000, 1, "ok", "read", ",\"key\":7,\"value\":0")
                    LINE(5, 5002000, 1, "invoke", "read", ",\"key\":7,\"value\":null");

static void what_is_written_reads_back(void **state)
{
    (void)state;
    struct history h;
    char err[256] = "";
    assert_int_equal(read_text(sample, &h, err, sizeof err), 0);
    assert_int_equal(h.n, 6);
    assert_int_equal(history_validate(&h, err, sizeof err), 0);
    assert_int_equal(h.ops[2].process, PROCESS_NEMESIS);
    assert_string_equal(h.ops[3].error, "timeout");

    char path[] = "/tmp/jepsen-history-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(history_write(path, &h, err, sizeof err), 0);
    struct history again;
    history_init(&again);
    assert_int_equal(history_read(path, &again, err, sizeof err), 0);
    assert_int_equal(again.n, h.n);
    for (size_t i = 0; i < h.n; i++) {
        const struct op *a = &h.ops[i], *b = &again.ops[i];
        assert_int_equal(a->index, b->index);
        assert_int_equal(a->time_ns, b->time_ns);
        assert_int_equal(a->process, b->process);
        assert_int_equal(a->type, b->type);
        assert_string_equal(a->f, b->f);
        assert_string_equal(a->node, b->node);
        assert_string_equal(a->error, b->error);
        assert_true(a->key == b->key || json_equal(a->key, b->key));
        assert_true(a->value == b->value || json_equal(a->value, b->value));
    }
    history_close(&again);
    history_close(&h);
    unlink(path);
    assert_int_not_equal(history_read(path, &h, err, sizeof err), 0);
}

static void events_know_their_other_half(void **state)
{
    (void)state;
    struct history h;
    char err[256];
    size_t pair[6];
    assert_int_equal(read_text(sample, &h, err, sizeof err), 0);
    assert_int_equal(history_pairs(&h, pair), 0);
    assert_int_equal(pair[0], 3);
    assert_int_equal(pair[3], 0);
    assert_int_equal(pair[1], 4);
    assert_true(pair[2] == HISTORY_NONE && pair[5] == HISTORY_NONE);
    history_close(&h);
}

struct row {
    const char *claim;
    const char *text;
    const char *complaint;
};

static const struct row unreadable[] = {
    {"cut in the middle of a line", "{\"index\":0,\"time\":1,\"process\":0,\"ty", "line 1"},
    {"not an object", "[1]\n", "not an object"},
    {"negative time", LINE(0, -1, 0, "invoke", "read", ""), "time"},
    {"a process that is a word", LINE(0, 1, "fault", "info", "read", ""), "process"},
    {"a type nobody knows", LINE(0, 1, 0, "started", "read", ""), "type"},
    {"a name that is too long", LINE(0, 1, 0, "invoke", "a-name-of-more-than-23-bytes", ""), "too long"},
    {"half of the events numbered",
     LINE(0, 1, 0, "invoke", "read",
          "") "{\"time\":2,\"process\":0,\"type\":\"ok\",\"f\":\"read\",\"value\":1}\n",
     "all must"},
};

static const struct row malformed[] = {
    {"a hole (truncated or filtered)", LINE(1, 1, 0, "invoke", "read", ""), "rule 1"},
    {"negative time step", LINE(0, 5, 0, "invoke", "read", "") LINE(1, 4, 0, "ok", "read", ",\"value\":1"),
     "rule 2"},
    {"two open operations", LINE(0, 5, 0, "invoke", "read", "") LINE(1, 6, 0, "invoke", "read", ""),
     "rule 3"},
    {"a process used after info",
     LINE(0, 5, 0, "invoke", "read", "") LINE(1, 6, 0, "info", "read", "")
         LINE(2, 7, 0, "invoke", "read", ""),
     "rule 3"},
    {"a completion without invocation", LINE(0, 5, 0, "ok", "read", ",\"value\":1"), "rule 4"},
    {"a completion of another f",
     LINE(0, 5, 0, "invoke", "read", "") LINE(1, 6, 0, "ok", "write", ",\"value\":1"), "rule 4"},
    {"a completion of another key",
     LINE(0, 5, 0, "invoke", "read", ",\"key\":1") LINE(1, 6, 0, "ok", "read", ",\"key\":2,\"value\":1"),
     "rule 4"},
    {"a fail with a changed value",
     LINE(0, 5, 0, "invoke", "write", ",\"value\":1") LINE(1, 6, 0, "fail", "write", ",\"value\":2"),
     "rule 5"},
    {"an ok read of nothing", LINE(0, 5, 0, "invoke", "read", "") LINE(1, 6, 0, "ok", "read", ""), "rule 6"},
    {"a fault that is an invocation", LINE(0, 5, "nemesis", "invoke", "kill", ""), "rule 8"},
    {"keys of two types",
     LINE(0, 5, 0, "invoke", "read", ",\"key\":1") LINE(1, 6, 1, "invoke", "read", ",\"key\":\"x\""),
     "rule 9"},
    {"a real number", LINE(0, 5, 0, "invoke", "write", ",\"value\":[1,{\"a\":2.5}]"), "rule 9"},
    {"no f", "{\"index\":0,\"time\":1,\"process\":0,\"type\":\"invoke\"}\n", "no f"},
};

static void unreadable_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof unreadable / sizeof unreadable[0]; i++) {
        struct history h;
        char err[256] = "";
        if (read_text(unreadable[i].text, &h, err, sizeof err) == 0 ||
            strstr(err, unreadable[i].complaint) == NULL)
            fail_msg("%s: '%s'", unreadable[i].claim, err);
        history_close(&h);
    }
}

static void malformed_histories_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        struct history h;
        char err[256] = "";
        assert_int_equal(read_text(malformed[i].text, &h, err, sizeof err), 0);
        if (history_validate(&h, err, sizeof err) == 0 || strstr(err, malformed[i].complaint) == NULL)
            fail_msg("%s: '%s'", malformed[i].claim, err);
        history_close(&h);
    }
}

static struct verdict verdict_of(uint64_t checked, uint64_t unknown, int invalid)
{
    struct verdict v;
    verdict_init(&v);
    v.checked = checked;
    if (unknown > 0)
        verdict_unknown(&v, unknown, "budget");
    if (invalid)
        verdict_invalid(&v, "lost %d", invalid);
    verdict_close(&v);
    return v;
}

static void verdicts_compose(void **state)
{
    (void)state;
    static const struct {
        uint64_t checked, unknown;
        int invalid;
        enum verdict_valid expected;
    } rows[] = {{0, 0, 0, UNKNOWN}, {10, 0, 0, VALID},  {99, 1, 0, VALID},  {98, 2, 0, UNKNOWN},
                {0, 1, 0, UNKNOWN}, {9, 0, 1, INVALID}, {1, 5, 1, INVALID}, {0, 0, 1, INVALID}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(verdict_of(rows[i].checked, rows[i].unknown, rows[i].invalid).valid,
                         rows[i].expected);

    struct verdict whole, good = verdict_of(3, 0, 0), unknown = verdict_of(1, 1, 0),
                          bad = verdict_of(1, 0, 7);
    verdict_init(&whole);
    verdict_compose(&whole, "good", &good);
    assert_int_equal(whole.valid, VALID);
    verdict_compose(&whole, "open", &unknown);
    assert_int_equal(whole.valid, UNKNOWN);
    verdict_compose(&whole, "bad", &bad);
    verdict_compose(&whole, "open", &unknown);
    verdict_compose(&whole, "good", &good);
    assert_int_equal(whole.valid, INVALID);
    assert_string_equal(whole.why, "bad: lost 7");
    assert_int_equal(whole.checked, 9);
    assert_int_equal(whole.unknown_parts, 2);
    assert_int_equal(verdict_exit(whole.valid), 1);
    assert_string_equal(verdict_name(whole.valid), "false");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(events_know_their_other_half),
        cmocka_unit_test(unreadable_files_are_refused),
        cmocka_unit_test(malformed_histories_are_refused),
        cmocka_unit_test(verdicts_compose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
