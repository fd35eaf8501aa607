/* The pages and pictures of a run, drawn from its history, its options and its verdict alone; so an old
 * folder can be drawn anew.  Files, all in the run's folder:
 *
 *   index.html      verdict, findings, faults, plots, figures, words explained, the command report_index.c
 *   timeline.html   every operation in a lane, to zoom into; timeline-2.html ... of long runs
 * report_timeline.c history.txt     one event a line, for the eye report_text.c results.json    the same for
 * programs                                                         report.c faults.png rate.png
 * latency-quantiles.png latency-raw.png clock-skew.png, plots/              report_plots.c findings/ what
 * contradicts the promise: operations drawn as intervals, proofs as text    report_proof.c
 *
 * No page needs anything from outside the folder. */
#ifndef JEPSEN_REPORT_H
#define JEPSEN_REPORT_H

#include <stdio.h>

#include "run.h"

#define REPORT_CLASSES_MAX 24
#define REPORT_NAMED_MAX   24

/* A fault in force.  `text` is borrowed from the history. */
struct window {
    uint64_t from_ns, to_ns;
    uint32_t class; /* of report.classes */
    const char *text;
};

/* What one kind of operation did. */
struct kind {
    char f[24];
    uint64_t ok, refused, unknown;
    uint64_t *took_us; /* of the ok ones, sorted */
};

/* A file in findings/, as index.html shows it. */
struct finding {
    char title[80], text[40], picture[40]; /* files; "": none */
};

struct report {
    struct run *run;
    const struct verdict *v;
    char command[1024]; /* that made the run; "" unknown */
    size_t *pair;       /* history_pairs() */
    uint64_t end_ns;
    const char *classes[REPORT_CLASSES_MAX]; /* in order of first appearance; borrowed from the history */
    uint32_t classes_n;
    struct window *windows;
    size_t windows_n;
    struct kind kinds[32];
    uint32_t kinds_n;
    size_t named[REPORT_NAMED_MAX]; /* invocations the verdict speaks of, rising */
    uint32_t named_n;
    struct finding findings[32];
    uint32_t findings_n;
    size_t timeline_from[64]; /* first event of each page of the timeline */
    uint32_t timelines;
    bool plotted, clock_plotted;
    char why_not_plotted[120];
};

/* Colours that colour-blind people tell apart (Paul Tol's), as "#rrggbb". */
extern const char report_colour_ok[], report_colour_refused[], report_colour_unknown[];
const char *report_class_colour(uint32_t class);

/* ---- report.c ---- */
FILE *report_file(const struct report *p,
                  const char *name); /* in the run's folder; NULL: a sentence was printed */
/* Starts a page: head, style, headline.  report_page_end() closes it. */
FILE *report_page(const struct report *p, const char *name, const char *title);
void report_page_end(FILE *f);
void report_escaped(FILE *f, const char *text); /* for HTML and SVG, in attributes too */
/* "write 7 = 1": f, key and value of an invocation, cut to `size`. */
void report_op_text(const struct op *invoke, char *text, size_t size);
void report_key_text(const json_t *key, char *text, size_t size); /* a string without its quotes */
/* The same value as JSON, cut to `size` with "..."; "" for null. */
void report_value_text(const json_t *value, char *text, size_t size);
uint64_t report_quantile(const uint64_t *sorted, size_t n, unsigned percent); /* 0 of nothing */
int report_by_number(const void *a, const void *b);                           /* uint64_t, for qsort */

/* Invocations that `text` names as "#12", rising, into `out`; how many. */
uint32_t report_named(const struct report *p, const char *text, size_t *out, uint32_t max);

void report_history_text(struct report *p);
void report_plots(struct report *p);
void report_timeline(struct report *p);
void report_findings(struct report *p);
void report_index(struct report *p);
/* The page of the timeline that shows this event. */
void report_timeline_name(const struct report *p, size_t event, char *name, size_t size);

/* Operations as bars from question to answer, into an SVG file of the run's folder.  The scale is the order
 * of events, not time: what overlaps and what does not is all that matters. */
void report_intervals(const struct report *p, const char *file, const char *title, const size_t *invokes,
                      uint32_t n);

/* Files of this folder, as they stand there (CMakeLists.txt). */
extern const char report_css[], report_timeline_js[];

#endif
