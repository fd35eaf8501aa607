#include "workload_rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What the workloads ask of a run while it runs; no checker does. */
uint64_t run_random(struct run *r, uint64_t below)
{
    (void)r;
    (void)below;
    fail();
    return 0;
}

uint64_t run_now_ns(const struct run *r)
{
    (void)r;
    fail();
    return 0;
}

int workload_rows_wrong(const struct workload_row *rows, size_t n)
{
    int wrong = 0;
    for (size_t i = 0; i < n; i++) {
        struct history h;
        struct verdict v;
        rows_parse(rows[i].history, &h);
        rows[i].workload->check(NULL, &h, &v);
        if (v.valid != rows[i].want || strstr(v.why, rows[i].why) == NULL)
            print_error("row %zu, %s: %s: %s\n", i, rows[i].workload->name, verdict_name(v.valid), v.why);
        wrong += v.valid != rows[i].want || strstr(v.why, rows[i].why) == NULL;
        history_close(&h);
    }
    return wrong;
}
