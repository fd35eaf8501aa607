/* timeline.html: every operation as data of the page, drawn and zoomed by the script in it (timeline.js).  A
 * long run has several such pages, one behind the other. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

#define PAGE_OPS_MAX 40000 /* some 6 MB, which browsers still draw at once */
#define VALUE_SHOWN  240

static void page_name(uint32_t page, char *name, size_t size)
{
    if (page == 0)
        snprintf(name, size, "timeline.html");
    else
        snprintf(name, size, "timeline-%u.html", page + 1);
}

void report_timeline_name(const struct report *p, size_t event, char *name, size_t size)
{
    uint32_t page = 0;
    while (page + 1 < p->timelines && p->timeline_from[page + 1] <= event)
        page++;
    page_name(page, name, size);
}

/* JSON inside a script: nothing may look like its end. */
static void write_json(FILE *f, json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    for (const char *p = text; p != NULL && *p != 0; p++)
        *p == '<' ? fputs("\\u003c", f) : fputc(*p, f);
    free(text);
    json_decref(value);
}

/* [event, asked us, took us or -1, process, node, way of ending, f, key, value, answer, error] */
static void write_op(const struct report *p, FILE *f, size_t i)
{
    const struct op *o = &p->run->history.ops[i];
    const struct op *done = p->pair[i] == HISTORY_NONE ? NULL : &p->run->history.ops[p->pair[i]];
    char key[80], value[VALUE_SHOWN], answer[VALUE_SHOWN] = "";
    report_key_text(o->key, key, sizeof key);
    report_value_text(o->value, value, sizeof value);
    if (done != NULL && done->type == OP_OK)
        report_value_text(done->value, answer, sizeof answer);
    json_int_t asked = (json_int_t)(o->time_ns / 1000);
    write_json(f, json_pack("[I,I,I,I,s,i,s,s,s,s,s]", (json_int_t)i, asked,
                            done == NULL ? (json_int_t)-1 : (json_int_t)(done->time_ns / 1000) - asked,
                            (json_int_t)o->process, o->node, done == NULL ? (int)OP_INFO : (int)done->type,
                            o->f, key, value, answer, done != NULL ? done->error : "no answer"));
}

static void write_data(const struct report *p, FILE *f, size_t from, size_t to, uint64_t from_ns,
                       uint64_t to_ns)
{
    const struct history *h = &p->run->history;
    fprintf(f, "<script>\nconst RUN={from:%" PRIu64 ",to:%" PRIu64 ",nodes:%u,\nclasses:[", from_ns / 1000,
            to_ns / 1000 + 1, p->run->o.nodes);
    for (uint32_t c = 0; c < p->classes_n; c++) {
        fputs(c > 0 ? "," : "", f);
        write_json(f, json_pack("[s,s]", p->classes[c], report_class_colour(c)));
    }
    fputs("],\nfaults:[", f);
    for (size_t i = 0; i < p->windows_n; i++) {
        const struct window *w = &p->windows[i];
        fputs(i > 0 ? ",\n" : "", f);
        write_json(f, json_pack("[I,I,i,s]", (json_int_t)(w->from_ns / 1000), (json_int_t)(w->to_ns / 1000),
                                (int)w->class, w->text));
    }
    fputs("],\nnamed:[", f);
    for (uint32_t i = 0; i < p->named_n; i++)
        fprintf(f, "%s%zu", i > 0 ? "," : "", p->named[i]);
    fputs("],\nops:[", f);
    const char *comma = "";
    for (size_t i = from; i < to; i++)
        if (h->ops[i].process >= 0 && h->ops[i].type == OP_INVOKE) {
            fputs(comma, f);
            write_op(p, f, i);
            comma = ",\n";
        }
    fputs("]};\n</script>\n", f);
}

/* What stands there without the script too: every fault, by name. */
static void write_fault_table(const struct report *p, FILE *f)
{
    if (p->windows_n == 0) {
        fputs("<p>No fault was in force: a calm run.</p>\n", f);
        return;
    }
    fputs("<h2>Faults</h2>\n<p class=\"soft\">A click shows the time around "
          "it.</p>\n<table><tr><th>class</th><th "
          "class=\"n\">from, s</th><th class=\"n\">to, s</th><th>what was done</th></tr>\n",
          f);
    for (size_t i = 0; i < p->windows_n; i++) {
        const struct window *w = &p->windows[i];
        fprintf(
            f,
            "<tr data-from=\"%" PRIu64 "\" data-to=\"%" PRIu64 "\"><td><span class=\"swatch\" "
            "style=\"background:%s\"></span>%s</td><td class=\"n\">%.2f</td><td class=\"n\">%.2f</td><td>",
            w->from_ns / 1000, w->to_ns / 1000, report_class_colour(w->class), p->classes[w->class],
            (double)w->from_ns / 1e9, (double)w->to_ns / 1e9);
        report_escaped(f, w->text);
        fputs("</td></tr>\n", f);
    }
    fputs("</table>\n", f);
}

static const char controls[] =
    "<p class=\"bar\"><button id=\"in\" title=\"zoom in (+)\">+</button> <button id=\"out\" title=\"zoom out "
    "(-)\">"
    "&minus;</button> <button id=\"left\" title=\"earlier\">&larr;</button> <button id=\"right\" "
    "title=\"later\">&rarr;"
    "</button> <button id=\"all\" title=\"everything (0)\">all</button> <label>lanes <select "
    "id=\"lanes\"><option "
    "value=\"worker\">one per worker</option><option value=\"node\">by the node "
    "asked</option></select></label> "
    "<label>only key <input id=\"key\" size=\"14\"></label> <span id=\"legend\"></span></p>\n"
    "<canvas id=\"overview\" height=\"56\"></canvas>\n<canvas id=\"chart\"></canvas>\n"
    "<div id=\"tip\" hidden></div>\n<pre id=\"detail\">Wheel: zoom. Drag: move. Click an operation: its "
    "details stay "
    "here. Double click: only the operations of its key.</pre>\n"
    "<noscript><p>This page is drawn by the script inside it; <a href=\"history.txt\">history.txt</a> says "
    "the same "
    "in words.</p></noscript>\n";

static void write_page(struct report *p, uint32_t page, uint32_t pages, size_t from, size_t to,
                       uint64_t from_ns, uint64_t to_ns)
{
    char name[32];
    page_name(page, name, sizeof name);
    FILE *f = report_page(p, name, "Timeline");
    if (f == NULL)
        return;
    fprintf(f,
            "<h1>%s <small>timeline</small></h1>\n<p class=\"links\"><a href=\"index.html\">verdict and "
            "figures</a>",
            p->run->o.workload->name);
    for (uint32_t k = 0; k < pages && pages > 1; k++) {
        page_name(k, name, sizeof name);
        if (k == page)
            fprintf(f, "<b>part %u</b> ", k + 1);
        else
            fprintf(f, "<a href=\"%s\">part %u</a>", name, k + 1);
    }
    fprintf(f, "</p>\n%s", controls);
    write_data(p, f, from, to, from_ns, to_ns);
    write_fault_table(p, f);
    fprintf(f, "<script>\n%s</script>\n", report_timeline_js);
    report_page_end(f);
}

void report_timeline(struct report *p)
{
    const struct history *h = &p->run->history;
    size_t ops = 0;
    for (size_t i = 0; i < h->n; i++)
        ops += h->ops[i].process >= 0 && h->ops[i].type == OP_INVOKE;
    uint32_t pages = ops == 0 ? 1 : (uint32_t)((ops + PAGE_OPS_MAX - 1) / PAGE_OPS_MAX);
    if (pages > sizeof p->timeline_from / sizeof p->timeline_from[0])
        pages = sizeof p->timeline_from / sizeof p->timeline_from[0]; /* the last one is longer */
    size_t from = 0;
    uint64_t from_ns = 0;
    for (uint32_t page = 0; page < pages; page++) {
        size_t to = from;
        for (size_t n = 0; to < h->n && (n < PAGE_OPS_MAX || page + 1 == pages); to++)
            n += h->ops[to].process >= 0 && h->ops[to].type == OP_INVOKE;
        uint64_t to_ns = to < h->n ? h->ops[to].time_ns : p->end_ns;
        p->timeline_from[page] = from;
        write_page(p, page, pages, from, to, from_ns, to_ns);
        from = to;
        from_ns = to_ns;
    }
    p->timelines = pages;
}
