/* index.html: the verdict first, then why, then what happened, for somebody who has seen no such page before.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report.h"

static bool there(const struct report *p, const char *name)
{
    char path[400];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", p->run->dir, name);
    return stat(path, &st) == 0;
}

static void write_verdict(const struct report *p, FILE *f)
{
    static const struct {
        const char *sign, *sentence;
    } said[] = {
        [VALID] = {"&#10003; valid", "Nothing that was observed contradicts the promise."},
        [INVALID] = {"&#10007; invalid", "What was observed contradicts the promise."},
        [UNKNOWN] = {"? unknown", "Nothing can be said: this run is neither a pass nor a finding."},
    };
    const struct run *r = p->run;
    const struct verdict *v = p->v;
    fprintf(f, "<h1>%s <small>%s</small></h1>\n<div class=\"verdict %s\"><b>%s</b>\n<p>%s</p>\n",
            r->o.workload->name, r->o.workload->what, verdict_name(v->valid), said[v->valid].sign,
            said[v->valid].sentence);
    if (v->why[0] != 0) {
        fputs("<p><code>", f);
        report_escaped(f, v->why);
        fputs("</code></p>\n", f);
    }
    fprintf(f,
            "<p class=\"soft\">%" PRIu64 " operations done, %" PRIu64 " refused, %" PRIu64
            " with an unknown end; %" PRIu64 " parts judged, %" PRIu64
            " undecided; %u faults in force; the leader "
            "changed %u times</p></div>\n",
            r->ok, r->failed, r->unknown, v->checked, v->unknown_parts, r->faults_applied, r->leaders_seen);
}

static void write_links(const struct report *p, FILE *f)
{
    fputs(
        "<p class=\"links\"><a href=\"timeline.html\">timeline</a><a href=\"history.txt\">history to read</a>"
        "<a href=\"history.jsonl\">history for programs</a><a href=\"results.json\">results</a>",
        f);
    for (uint32_t i = 1; i <= NODES_MAX + 8; i++) {
        char name[32];
        snprintf(name, sizeof name, "node-%u.log", i);
        if (there(p, name))
            fprintf(f, "<a href=\"%s\">log of node-%u</a>", name, i);
        snprintf(name, sizeof name, "node-%u", i);
        if (p->v->valid != VALID && there(p, name)) /* else it is not kept */
            fprintf(f, "<a href=\"%s/\">its data</a>", name);
    }
    fputs("</p>\n", f);
}

/* The text of a file in findings/, into the page. */
static void write_proof(const struct report *p, FILE *f, const char *name)
{
    char path[400];
    snprintf(path, sizeof path, "%s/findings/%s", p->run->dir, name);
    FILE *in = fopen(path, "re");
    fputs("<pre>", f);
    char line[1024];
    for (int n = 0; in != NULL && n < 400 && fgets(line, sizeof line, in) != NULL; n++)
        report_escaped(f, line);
    fputs("</pre>\n", f);
    if (in != NULL)
        fclose(in);
}

static void write_findings(const struct report *p, FILE *f)
{
    if (p->findings_n == 0)
        return;
    fputs("<h2>What was found</h2>\n", f);
    for (uint32_t i = 0; i < p->findings_n; i++) {
        const struct finding *found = &p->findings[i];
        fprintf(f, "<details%s><summary>", i == 0 ? " open" : "");
        report_escaped(f, found->title);
        fputs("</summary>\n", f);
        if (found->picture[0] != 0)
            fprintf(f,
                    "<p><img class=\"proof\" src=\"findings/%s\" alt=\"the operations as intervals of "
                    "time\"></p>\n",
                    found->picture);
        if (found->text[0] != 0)
            write_proof(p, f, found->text);
        fputs("</details>\n", f);
    }
    for (uint32_t i = 0; i < p->named_n; i++) {
        char page[32];
        report_timeline_name(p, p->named[i], page, sizeof page);
        fprintf(f, "%s<a href=\"%s#op=%zu\">#%zu</a>", i == 0 ? "<p class=\"links\">In the timeline: " : "",
                page, p->named[i], p->named[i]);
    }
    fputs(p->named_n > 0 ? "</p>\n" : "", f);
}

static void write_faults(const struct report *p, FILE *f)
{
    const struct run *r = p->run;
    fputs("<h2>Faults</h2>\n<table><tr><th>class</th><th>what it does</th><th class=\"n\">times in "
          "force</th><th "
          "class=\"n\">seconds in all</th><th>self-check before the run</th></tr>\n",
          f);
    for (uint32_t c = 0; c < p->classes_n; c++) {
        uint64_t ns = 0;
        uint32_t times = 0;
        for (size_t i = 0; i < p->windows_n; i++)
            if (p->windows[i].class == c) {
                times++;
                ns += p->windows[i].to_ns - p->windows[i].from_ns;
            }
        bool checked = false;
        for (uint32_t i = 0; i < r->o.faults_n; i++)
            checked |= strcmp(r->o.faults[i]->name, p->classes[c]) == 0;
        const struct fault *fault = fault_find(p->classes[c]);
        fprintf(f,
                "<tr><td><span class=\"swatch\" style=\"background:%s\"></span>%s</td><td>%s</td><td "
                "class=\"n\">%u</td>"
                "<td class=\"n\">%.1f</td><td>%s</td></tr>\n",
                report_class_colour(c), p->classes[c], fault != NULL ? fault->what : "", times,
                (double)ns / 1e9, checked ? "it broke and mended what it says" : "-");
    }
    fputs(p->classes_n == 0
              ? "<tr><td>none</td><td>a calm run</td><td class=\"n\">0</td><td class=\"n\">0</td><td>-</td>"
                "</tr></table>\n"
              : "</table>\n",
          f);
}

static void write_plots(const struct report *p, FILE *f)
{
    static const struct {
        const char *file, *what;
    } plots[] = {
        {"faults.png", "when which class of faults was in force"},
        {"rate.png", "operations that ended per second, by how they ended"},
        {"latency-quantiles.png", "median, 95th and 99th percentile and longest duration over time"},
        {"latency-raw.png", "the duration of every operation over time, by how it ended"},
        {"clock-skew.png", "how far the clocks of nodes were set apart"},
    };
    fputs("<h2>The course of the run</h2>\n<p class=\"soft\">Shaded: a fault was in force, coloured by its "
          "class. Data "
          "and commands: <a href=\"plots/\">plots/</a>.</p>\n",
          f);
    if (!p->plotted) {
        fprintf(f, "<p>%s.</p>\n", p->why_not_plotted);
        return;
    }
    for (size_t i = 0; i < sizeof plots / sizeof plots[0]; i++)
        if (i < 4 || p->clock_plotted)
            fprintf(f, "<a href=\"%s\"><img class=\"plot\" src=\"%s\" alt=\"%s\"></a>\n", plots[i].file,
                    plots[i].file, plots[i].what);
}

static void write_kinds(const struct report *p, FILE *f)
{
    fputs("<h2>Operations</h2>\n<table><tr><th>asked</th><th class=\"n\">ok</th><th "
          "class=\"n\">refused</th><th "
          "class=\"n\">unknown</th><th class=\"n\">p50 ms</th><th class=\"n\">p95 ms</th><th class=\"n\">p99 "
          "ms</th><th "
          "class=\"n\">longest ms</th></tr>\n",
          f);
    for (uint32_t i = 0; i < p->kinds_n; i++) {
        const struct kind *k = &p->kinds[i];
        static const unsigned percents[] = {50, 95, 99, 100};
        fputs("<tr><td>", f);
        report_escaped(f, k->f);
        fprintf(f,
                "</td><td class=\"n\">%" PRIu64 "</td><td class=\"n\">%" PRIu64
                "</td><td class=\"n\">%" PRIu64 "</td>",
                k->ok, k->refused, k->unknown);
        for (size_t q = 0; q < 4; q++)
            fprintf(f, "<td class=\"n\">%.1f</td>",
                    (double)report_quantile(k->took_us, k->ok, percents[q]) / 1e3);
        fputs("</tr>\n", f);
    }
    fputs("</table>\n", f);
}

static void write_command(const struct report *p, FILE *f)
{
    const struct options *o = &p->run->o;
    const struct {
        const char *name;
        uint64_t value;
        const char *unit;
    } parameters[] = {{"nodes", o->nodes, ""},
                      {"workers", o->workers, ""},
                      {"length", o->seconds, " s"},
                      {"operations wanted", o->rate, " per second"},
                      {"a fault lasts about", o->fault_ms, " ms"},
                      {"seed", o->seed, ""}};
    fputs("<h2>How it was run</h2>\n<table>", f);
    for (size_t i = 0; i < sizeof parameters / sizeof parameters[0]; i++)
        if (parameters[i].value != 0) /* else an old folder that does not say */
            fprintf(f, "<tr><th>%s</th><td>%" PRIu64 "%s</td></tr>\n", parameters[i].name,
                    parameters[i].value, parameters[i].unit);
    fputs("</table>\n<pre>", f);
    report_escaped(f, p->command[0] != 0 ? p->command : "(the command was not recorded)");
    fputs("\n\n# the verdict of today's checkers on this folder; and its pages, drawn anew\nassent-jepsen "
          "--judge ",
          f);
    report_escaped(f, p->run->dir);
    fputs("\nassent-jepsen --redraw ", f);
    report_escaped(f, p->run->dir);
    fputs("</pre>\n", f);
}

static const char words[] =
    "<h2>Words</h2>\n<dl>"
    "<dt>operation</dt><dd>One request of one worker, from when it was asked to when it ended.</dd>"
    "<dt>ok, refused, unknown</dt><dd>It happened; it certainly did not and will not happen; nobody knows: "
    "the answer was "
    "lost, it may have happened, or may yet.</dd>"
    "<dt>worker, process</dt><dd>A worker asks one thing after the other. After an unknown end it goes on "
    "under another "
    "process number, because the old request may still be under way.</dd>"
    "<dt>#12</dt><dd>The event with that number in the history: the moment an operation was asked.</dd>"
    "<dt>history</dt><dd>All events in the order one recorder saw them. The verdict follows from it "
    "alone.</dd>"
    "<dt>workload</dt><dd>What is asked, and the checker that knows what the answers must not say.</dd>"
    "<dt>key, part</dt><dd>An object that is judged by itself: a register, a transaction, a clock.</dd>"
    "<dt>undecided</dt><dd>A part the checker gave up on, for want of time or memory.</dd>"
    "<dt>fault, in force</dt><dd>What the judge breaks on purpose, and the time it stays broken. Before the "
    "run every "
    "class shows that it really breaks, and mends, what it says.</dd>"
    "<dt>leader</dt><dd>The node that orders all changes. When it is lost the others choose another.</dd>"
    "<dt>p50, p95, p99</dt><dd>Half, 95 %, 99 % of the operations took no longer.</dd>"
    "<dt>linearizable</dt><dd>Every operation seems to happen at one moment between question and answer.</dd>"
    "<dt>strictly serializable</dt><dd>The same for whole transactions.</dd></dl>\n";

void report_index(struct report *p)
{
    char title[80];
    snprintf(title, sizeof title, "%s: %s", p->run->o.workload->name, verdict_name(p->v->valid));
    FILE *f = report_page(p, "index.html", title);
    if (f == NULL)
        return;
    write_verdict(p, f);
    write_links(p, f);
    write_findings(p, f);
    write_faults(p, f);
    write_plots(p, f);
    write_kinds(p, f);
    write_command(p, f);
    fputs(words, f);
    report_page_end(f);
}
