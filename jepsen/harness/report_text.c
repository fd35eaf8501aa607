/* history.txt: the history for the eye, one event a line, the duration beside the end. */
#include <inttypes.h>

#include "report.h"

void report_history_text(struct report *p)
{
    static const char *const words[] = {"asks", "ok", "refused", "unknown"};
    const struct history *h = &p->run->history;
    FILE *f = report_file(p, "history.txt");
    if (f == NULL)
        return;
    fprintf(f, "%8s  %12s  %-8s %-7s %-8s %9s  %s\n", "event", "seconds", "process", "node", "", "took ms",
            "what");
    for (size_t i = 0; i < h->n; i++) {
        const struct op *o = &h->ops[i];
        char value[4096], key[200], took[24] = "";
        report_value_text(o->value, value, sizeof value);
        report_key_text(o->key, key, sizeof key);
        if (o->process == PROCESS_NEMESIS) {
            fprintf(f, "%8zu  %12.6f  ---- fault: %s %s\n", i, (double)o->time_ns / 1e9, o->f, value);
            continue;
        }
        if (o->type != OP_INVOKE)
            snprintf(took, sizeof took, "%.3f", (double)(o->time_ns - h->ops[p->pair[i]].time_ns) / 1e6);
        fprintf(f, "%8zu  %12.6f  %-8" PRId64 " %-7s %-8s %9s  %s%s%s%s%s%s%s\n", i, (double)o->time_ns / 1e9,
                o->process, o->node, words[o->type], took, o->f, key[0] != 0 ? " " : "", key,
                value[0] != 0 ? " " : "", value, o->error[0] != 0 ? "  -- " : "", o->error);
    }
    fclose(f);
}
