/* The verdict on a history, during its run and ever after: when a checker changes, old runs are judged again.
 */
#ifndef JEPSEN_JUDGE_H
#define JEPSEN_JUDGE_H

#include "run.h"

/* The workload's checker, and what must hold of every run: no node broke a promise under a fault, every class
 * was in force (r->in_force), every kind of operation succeeded at least once.  Reads r->history, r->o and
 * r->in_force. */
void judge_history(struct run *r, struct verdict *v);

/* Fills a fresh `r` from a run's folder (results.json, history.jsonl): counts, faults in force, the workload.
 * Non-zero: `err` says what is no such folder.  `r` must be closed by judge_close. */
int judge_open(struct run *r, const char *folder, char *err, size_t err_size);
void judge_close(struct run *r);

/* Judge a folder again and say what it was and is; `redraw` writes results and pages anew.  The exit status:
 * 0, 1, 2 as of a run, 3: no such folder, or its history is malformed. */
int judge_folder(const char *folder, bool redraw);

#endif
