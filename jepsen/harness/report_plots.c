/* The course of a run as pictures, by gnuplot.  Its data and its commands stay in plots/, so that anybody can
 * draw them otherwise: cd FOLDER && gnuplot plots/plots.gnuplot. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "report.h"

#define BUCKETS_MAX 120 /* of quantiles, over the run */

extern char **environ;

static double seconds_of(uint64_t ns)
{
    return (double)ns / 1e9;
}

static const struct op *completion(const struct report *p, size_t invoke)
{
    return p->pair[invoke] == HISTORY_NONE ? NULL : &p->run->history.ops[p->pair[invoke]];
}

/* ---- data ---- */

/* One file per way of ending: when it was asked, how long it took. */
static void write_latencies(const struct report *p)
{
    static const char *const names[] = {NULL, "plots/ok.dat", "plots/refused.dat", "plots/unknown.dat"};
    const struct history *h = &p->run->history;
    for (int type = OP_OK; type <= OP_INFO; type++) {
        FILE *f = report_file(p, names[type]);
        if (f == NULL)
            return;
        fputs("# asked at, s; took, ms\n", f);
        for (size_t i = 0; i < h->n; i++) {
            const struct op *o = &h->ops[i], *done = completion(p, i);
            if (o->process >= 0 && o->type == OP_INVOKE && done != NULL && (int)done->type == type)
                fprintf(f, "%.6f %.4f\n", seconds_of(o->time_ns), (double)(done->time_ns - o->time_ns) / 1e6);
        }
        fclose(f);
    }
}

static void write_rates(const struct report *p)
{
    const struct history *h = &p->run->history;
    size_t n = (size_t)(p->end_ns / 1000000000u) + 1;
    uint64_t(*ended)[4] = calloc(n, sizeof *ended);
    FILE *f = report_file(p, "plots/rate.dat");
    if (ended != NULL && f != NULL) {
        for (size_t i = 0; i < h->n; i++)
            if (h->ops[i].process >= 0)
                ended[h->ops[i].time_ns / 1000000000u][h->ops[i].type]++;
        fputs("# second; ok, refused, unknown in it\n", f);
        for (size_t s = 0; s < n; s++)
            fprintf(f, "%zu %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", s, ended[s][OP_OK], ended[s][OP_FAIL],
                    ended[s][OP_INFO]);
    }
    if (f != NULL)
        fclose(f);
    free(ended);
}

/* In order of the invocations, so that buckets of time are runs of it. */
static void write_quantiles(const struct report *p)
{
    const struct history *h = &p->run->history;
    uint64_t width_ns = p->end_ns / BUCKETS_MAX > 1000000000u ? p->end_ns / BUCKETS_MAX : 1000000000u;
    uint64_t *took = calloc(h->n + 1, sizeof *took);
    FILE *f = report_file(p, "plots/quantiles.dat");
    if (took == NULL || f == NULL)
        abort();
    fputs("# asked about, s; p50, p95, p99, longest of what ended ok, ms\n", f);
    for (size_t i = 0; i < h->n;) {
        uint64_t bucket = h->ops[i].time_ns / width_ns;
        size_t n = 0;
        for (; i < h->n && h->ops[i].time_ns / width_ns == bucket; i++) {
            const struct op *o = &h->ops[i], *done = completion(p, i);
            if (o->process >= 0 && o->type == OP_INVOKE && done != NULL && done->type == OP_OK)
                took[n++] = (done->time_ns - o->time_ns) / 1000;
        }
        qsort(took, n, sizeof *took, report_by_number);
        fprintf(f, n == 0 ? "\n" : "%.3f",
                seconds_of(bucket * width_ns + width_ns / 2)); /* a gap: nothing was ok */
        static const unsigned percents[] = {50, 95, 99, 100};
        for (size_t k = 0; n > 0 && k < 4; k++)
            fprintf(f, " %.4f%s", (double)report_quantile(took, n, percents[k]) / 1e3, k == 3 ? "\n" : "");
    }
    fclose(f);
    free(took);
}

/* How a fault of the class "clock" set the clock of `node` apart, from its text: "node-2 +500 ms", or "...
 * goes 1.5 times as fast".  Seconds at the beginning and at the end; false: not that node's. */
static bool apart(const struct window *w, const char *node, double *begin, double *end)
{
    const char *at = strstr(w->text, node), *fast = at != NULL ? strstr(at, " goes ") : NULL;
    if (at == NULL)
        return false;
    *begin = *end = 0;
    if (fast != NULL) {
        *end = (strtod(fast + 6, NULL) - 1) * seconds_of(w->to_ns - w->from_ns);
        return true;
    }
    at += strlen(node);
    at += strcspn(at, "+-"); /* "node-1, node-2 jumps +500 ms": the names before are of the same jump */
    while (*at != 0 && (at[1] < '0' || at[1] > '9' || at[-1] != ' '))
        at += 1 + strcspn(at + 1, "+-");
    *begin = *end = strtod(at, NULL) / 1e3;
    return *at != 0;
}

/* The end of a fault sets the clock right.  Returns how many nodes' clocks were set apart: a block of lines
 * of clock.dat each, and the number of the node into `which`. */
static uint32_t write_clocks(const struct report *p, uint32_t which[NODES_MAX])
{
    FILE *f = NULL;
    uint32_t nodes = 0;
    for (uint32_t node = 1; node <= NODES_MAX; node++) {
        char name[16];
        bool any = false;
        snprintf(name, sizeof name, "node-%u", node);
        for (size_t i = 0; i < p->windows_n; i++) {
            const struct window *w = &p->windows[i];
            double begin, end;
            if (strcmp(p->classes[w->class], "clock") != 0 || !apart(w, name, &begin, &end))
                continue;
            if (f == NULL && (f = report_file(p, "plots/clock.dat")) == NULL)
                return 0;
            if (!any)
                fprintf(f, "%s# node-%u: s; its clock's offset, s\n0 0\n", nodes > 0 ? "\n\n" : "", node);
            any = true;
            double from = seconds_of(w->from_ns), to = seconds_of(w->to_ns);
            fprintf(f, "%.3f 0\n%.3f %.4f\n%.3f %.4f\n%.3f 0\n", from, from, begin, to, end, to);
        }
        if (!any)
            continue;
        fprintf(f, "%.3f 0\n", seconds_of(p->end_ns));
        which[nodes++] = node;
    }
    if (f != NULL)
        fclose(f);
    return nodes;
}

/* ---- commands ---- */

static uint32_t windows_of(const struct report *p, uint32_t class)
{
    uint32_t n = 0;
    for (size_t i = 0; i < p->windows_n; i++)
        n += p->windows[i].class == class;
    return n;
}

/* Every fault behind the curves; one empty curve per class for the legend. */
static void write_shades(const struct report *p, FILE *f)
{
    for (size_t i = 0; i < p->windows_n; i++) {
        const struct window *w = &p->windows[i];
        fprintf(f,
                "set object %zu rectangle from first %.3f, graph 0 to first %.3f, graph 1 fillcolor rgb '%s' "
                "fillstyle transparent solid 0.32 noborder behind\n",
                i + 1, seconds_of(w->from_ns), seconds_of(w->to_ns), report_class_colour(w->class));
    }
}

static void write_legend(const struct report *p, FILE *f)
{
    for (uint32_t c = 0; c < p->classes_n; c++)
        if (windows_of(p, c) > 0)
            fprintf(f, ", NaN with points pointtype 5 pointsize 2 linecolor rgb '%s' title '%s'",
                    report_class_colour(c), p->classes[c]);
    fputc('\n', f);
}

static void start_plot(const struct report *p, FILE *f, const char *name, const char *title, unsigned height)
{
    unsigned legend = 120 + 20 * (4 + p->classes_n); /* one column of it */
    if (height < legend && strcmp(name, "faults.png") != 0)
        height = legend;
    fprintf(
        f,
        "\nreset\nset terminal pngcairo size 1500,%u font 'sans,12' background rgb 'white'\nset output '%s'\n"
        "set title '%s' left\nset lmargin at screen 0.065\nset rmargin at screen 0.875\n"
        "set key outside right top reverse Left samplen 1.5\nset border 3\nset tics nomirror out\n"
        "set grid y linecolor rgb '#dddddd'\nset xlabel 'seconds of the run'\nset xrange [0:%.3f]\n",
        height, name, title, seconds_of(p->end_ns));
}

static void write_fault_rows(const struct report *p, FILE *f)
{
    start_plot(p, f, "faults.png", "Faults in force", 110 + 30 * (p->classes_n > 0 ? p->classes_n : 1));
    fprintf(f, "set yrange [%u:0]\nunset grid\nset key off\nset ytics (",
            p->classes_n > 0 ? p->classes_n : 1);
    for (uint32_t c = 0; c < p->classes_n; c++)
        fprintf(f, "%s'%s' %.1f", c > 0 ? ", " : "", p->classes[c], c + 0.5);
    fputs(p->classes_n > 0 ? ")\n" : "'none' 0.5)\n", f);
    for (size_t i = 0; i < p->windows_n; i++) {
        const struct window *w = &p->windows[i];
        fprintf(f,
                "set object %zu rectangle from first %.3f, first %.2f to first %.3f, first %.2f fillcolor "
                "rgb '%s' "
                "fillstyle solid 1 border rgb '#666666'\n",
                i + 1, seconds_of(w->from_ns), w->class + 0.12, seconds_of(w->to_ns), w->class + 0.88,
                report_class_colour(w->class));
    }
    fputs("plot NaN\n", f);
}

static void write_script(const struct report *p, FILE *f, const uint32_t *which, uint32_t clocks)
{
    write_fault_rows(p, f);

    start_plot(p, f, "rate.png", "Operations that ended, per second", 340);
    write_shades(p, f);
    fprintf(
        f,
        "set yrange [0:*]\nset ylabel 'per second'\nplot 'plots/rate.dat' using ($1+0.5):2 with linespoints "
        "linewidth 2 pointtype 7 pointsize 0.5 linecolor rgb '%s' title 'ok', '' using ($1+0.5):3 with "
        "linespoints "
        "linewidth 2 pointtype 2 pointsize 0.7 linecolor rgb '%s' title 'refused', '' using ($1+0.5):4 with "
        "linespoints linewidth 2 pointtype 9 pointsize 0.8 linecolor rgb '%s' title 'unknown'",
        report_colour_ok, report_colour_refused, report_colour_unknown);
    write_legend(p, f);

    start_plot(p, f, "latency-quantiles.png", "How long an operation that was done took", 380);
    write_shades(p, f);
    fputs("set logscale y\nset ylabel 'milliseconds'\nset format y '%g'\nplot", f);
    static const struct {
        const char *name, *colour;
        unsigned point;
    } curves[] = {
        {"p50", "#4477AA", 7}, {"p95", "#228833", 5}, {"p99", "#AA3377", 9}, {"longest", "#333333", 2}};
    for (unsigned i = 0; i < 4; i++)
        fprintf(
            f,
            "%s 'plots/quantiles.dat' using 1:%u with linespoints linewidth 1.5 pointtype %u pointsize 0.6 "
            "linecolor rgb '%s' title '%s'",
            i > 0 ? "," : "", i + 2, curves[i].point, curves[i].colour, curves[i].name);
    write_legend(p, f);

    start_plot(p, f, "latency-raw.png", "How long each operation took, and how it ended", 420);
    write_shades(p, f);
    fprintf(f,
            "set logscale y\nset ylabel 'milliseconds'\nset format y '%%g'\n"
            "plot 'plots/ok.dat' with points pointtype 7 pointsize 0.3 linecolor rgb '%s' title 'ok', "
            "'plots/refused.dat' with points pointtype 2 pointsize 0.6 linecolor rgb '%s' title 'refused', "
            "'plots/unknown.dat' with points pointtype 9 pointsize 1.1 linecolor rgb '%s' title 'unknown'",
            report_colour_ok, report_colour_refused, report_colour_unknown);
    write_legend(p, f);

    if (clocks == 0)
        return;
    start_plot(p, f, "clock-skew.png", "Clocks set apart, by so many seconds", 320);
    write_shades(p, f);
    fputs("set nonlinear y via sgn(y)*log10(1+abs(y)*100) inverse sgn(y)*(10**abs(y)-1)/100\n"
          "set ytics (-60, -10, -1, -0.1, 0, 0.1, 1, 10, 60, 600)\nset ylabel 'seconds ahead'\nplot ",
          f);
    for (uint32_t i = 0; i < clocks; i++)
        fprintf(f, "%s'plots/clock.dat' index %u with lines linewidth 2.5 title 'node-%u'", i > 0 ? ", " : "",
                i, which[i]);
    write_legend(p, f);
}

/* ---- gnuplot ---- */

/* Its exit status; -1: it is not installed. */
static int run_gnuplot(const char *folder)
{
    char script[] = "plots/plots.gnuplot", program[] = "gnuplot";
    char *arguments[] = {program, script, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, folder);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "plots/gnuplot.log", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    int rv = posix_spawnp(&pid, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (rv != 0)
        return -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

void report_plots(struct report *p)
{
    char path[320];
    snprintf(path, sizeof path, "%s/plots", p->run->dir);
    mkdir(path, 0755);
    write_latencies(p);
    write_rates(p);
    write_quantiles(p);
    uint32_t which[NODES_MAX], clocks = write_clocks(p, which);
    FILE *f = report_file(p, "plots/plots.gnuplot");
    if (f == NULL)
        return;
    write_script(p, f, which, clocks);
    fclose(f);
    int status = run_gnuplot(p->run->dir);
    p->plotted = status == 0;
    p->clock_plotted = status == 0 && clocks > 0;
    if (status != 0)
        snprintf(p->why_not_plotted, sizeof p->why_not_plotted,
                 status < 0 ? "gnuplot is not installed (package gnuplot-nox): there are no plots"
                            : "gnuplot failed (plots/gnuplot.log): plots are missing");
    if (status != 0)
        fprintf(stderr, "assent-jepsen: %s\n", p->why_not_plotted);
}
