/* A few operations as bars; see report.h. */
#include <inttypes.h>
#include <stdlib.h>

#include "report.h"

#define SHOWN_MAX 16
#define LABELS    380.0
#define BARS      820.0
#define ROW       36.0
#define HEAD      44.0

struct moment {
    uint64_t ns;
    size_t event;
};

static int by_event(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;
    return (x->event > y->event) - (x->event < y->event);
}

static double place(const struct moment *moments, uint32_t n, size_t event)
{
    uint32_t rank = 0;
    while (rank < n && moments[rank].event != event)
        rank++;
    return LABELS + (rank + 0.5) * BARS / n;
}

static void draw_op(const struct report *p, FILE *f, size_t i, uint32_t row, const struct moment *moments,
                    uint32_t n)
{
    const struct history *h = &p->run->history;
    const struct op *o = &h->ops[i], *done = p->pair[i] == HISTORY_NONE ? NULL : &h->ops[p->pair[i]];
    bool open = done == NULL || done->type == OP_INFO;
    const char *colour = open                  ? report_colour_unknown
                         : done->type == OP_OK ? report_colour_ok
                                               : report_colour_refused;
    double y = HEAD + row * ROW, from = place(moments, n, i),
           to = open ? LABELS + BARS + 30 : place(moments, n, p->pair[i]);
    char what[120], answer[64] = "";
    report_op_text(o, what, 44);
    if (done != NULL && done->type == OP_OK)
        report_value_text(done->value, answer, 26);
    fprintf(f, "<text x=\"8\" y=\"%.0f\">#%zu ", y + 14, i);
    report_escaped(f, what);
    fprintf(f, "</text><text x=\"8\" y=\"%.0f\" class=\"s\">process %" PRId64 ", %s</text>\n", y + 28,
            o->process, o->node[0] != 0 ? o->node : "?");
    fprintf(f, "<rect x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" height=\"22\" rx=\"3\" fill=\"%s\"%s/>\n", from,
            y + 4, to - from > 4 ? to - from : 4, colour,
            open ? " fill-opacity=\"0.45\" stroke=\"#AA3377\" stroke-dasharray=\"5 3\"" : "");
    fprintf(f, "<text x=\"%.1f\" y=\"%.0f\" class=\"%s\">", from + 6, y + 19, open ? "d" : "w");
    report_escaped(f, open ? "no answer: now, later or never" : done->type == OP_OK ? answer : "refused");
    fputs("</text>\n", f);
}

void report_intervals(const struct report *p, const char *file, const char *title, const size_t *invokes,
                      uint32_t n)
{
    struct moment moments[2 * SHOWN_MAX] = {0};
    uint32_t ends = 0;
    FILE *f = report_file(p, file);
    if (f == NULL)
        return;
    n = n < SHOWN_MAX ? n : SHOWN_MAX;
    for (uint32_t i = 0; i < n; i++) {
        size_t done = p->pair[invokes[i]];
        moments[ends++] = (struct moment){p->run->history.ops[invokes[i]].time_ns, invokes[i]};
        if (done != HISTORY_NONE && p->run->history.ops[done].type != OP_INFO)
            moments[ends++] = (struct moment){p->run->history.ops[done].time_ns, done};
    }
    qsort(moments, ends, sizeof *moments, by_event);
    double width = LABELS + BARS + 40, height = HEAD + n * ROW + 74;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f "
            "%.0f\">\n"
            "<style>text{font:13px 'DejaVu "
            "Sans',sans-serif;fill:#1c1c1c}.s{font-size:11px;fill:#5a5a5a}.w{fill:#fff}"
            ".h{font-weight:bold;font-size:14px}</style>\n<rect width=\"100%%\" height=\"100%%\" "
            "fill=\"#ffffff\"/>\n"
            "<text class=\"h\" x=\"8\" y=\"24\">",
            width, height, width, height);
    report_escaped(f, title);
    fputs("</text>\n", f);
    for (uint32_t i = 0; i < ends; i++) {
        double x = LABELS + (i + 0.5) * BARS / ends;
        fprintf(f,
                "<path d=\"M%.1f %.0fV%.0f\" stroke=\"#cccccc\"/><text class=\"s\" text-anchor=\"end\" "
                "transform=\"translate("
                "%.1f,%.0f) rotate(-45)\">%.4f s</text>\n",
                x, HEAD - 4, HEAD + n * ROW + 4, x + 4, HEAD + n * ROW + 16, (double)moments[i].ns / 1e9);
    }
    for (uint32_t i = 0; i < n; i++)
        draw_op(p, f, invokes[i], i, moments, ends);
    fputs("</svg>\n", f);
    fclose(f);
}
