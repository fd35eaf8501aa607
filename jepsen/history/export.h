/* A history in the formats of other checkers, and back.
 *
 *   knossos    EDN maps, one a line, for one register or mutex: one file per key (rule 10).  A register's
 * begins with a completed write of 0, for Knossos takes one that starts as nil for anything (rule 6)
 *   porcupine  lines of Jepsen's console, which Porcupine's tests read: "INFO  jepsen.util -
 * 3<TAB>:invoke<TAB>:cas<TAB> [1 4]"; one file per key, beginning with a write of 0 too; operations without
 * an end have no second line, reads without an answer end as ":fail :read :timed-out"; a failed write is left
 * out, a failed cas too unless it found another value, for there it says just that elle-edn   EDN maps,
 * :value a vector of micro-operations elle-json  one JSON array of objects, as elle-cli reads it csv
 * index,time,process,type,f,key,value,node,error; for spreadsheets, not read back
 *
 * A value with its version ([value, version]) loses the version on the way to Knossos and Porcupine.  Nemesis
 * events go to csv only.
 *
 * Events keep their order; `index` is renumbered from 0, since the foreign readers want it dense.  export(h)
 * then import gives history_normalise(h, format): what the format can say of h. */
#ifndef JEPSEN_EXPORT_H
#define JEPSEN_EXPORT_H

#include "history.h"

enum export_format {
    EXPORT_KNOSSOS,
    EXPORT_ELLE_EDN,
    EXPORT_ELLE_JSON,
    EXPORT_PORCUPINE,
    EXPORT_CSV,
    EXPORT_FORMAT_NR
};

/* By its name above; EXPORT_FORMAT_NR: none such. */
enum export_format export_find(const char *name);
const char *export_name(enum export_format format);
/* Whether the format holds one key, so that a history must be split first. */
bool export_per_key(enum export_format format);

/* What the format keeps of `h`: the events of key number `key` (in order of first sight; SIZE_MAX: of all
 * keys), renumbered, without what cannot be said.  Gives a history to close.  Non-zero: memory is short. */
int history_normalise(const struct history *h, enum export_format format, size_t key, struct history *out);
/* How many different keys client events carry. */
size_t history_keys(const struct history *h);

/* Non-zero: `err` says what cannot be written. `h` is normalised. */
int export_write(FILE *out, const struct history *h, enum export_format format, char *err, size_t err_size);
/* Reads what export_write wrote, into an initialised, empty history.  CSV is refused. */
int export_read(FILE *in, enum export_format format, struct history *h, char *err, size_t err_size);

#endif
