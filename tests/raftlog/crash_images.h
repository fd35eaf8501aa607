/* Crash images of a node's disk: scripted workloads on the real bindings of LMDB, every write and sync
 * recorded (disk_trace.h), and the judgement of what production code makes of each image a crash could leave.
 */
#ifndef TESTS_CRASH_IMAGES_H
#define TESTS_CRASH_IMAGES_H

#include <stdbool.h>
#include <stdint.h>

/* What a workload's judge says: NULL, or what is wrong; static. */
struct image_judge {
    const char *name;
    /* Run the workload in `dir` while it is recorded.  False: it ended with an error, which it may when a
     * fault was injected. */
    bool (*run)(const char *dir);
    /* Open the image that `dir` holds, of a crash before event `point` was over. */
    const char *(*judge)(const char *dir, uint64_t point);
};
extern const struct image_judge log_judge, store_judge;

/* Of the log's last run: how often its failure was told, and acknowledgements that came behind it. */
uint32_t log_failures_told(void);
uint32_t log_told_after_failure(void);

#endif /* TESTS_CRASH_IMAGES_H */
