/* Whose data directory it is: bootstrap, joining, and recovery after a lost majority. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"
#include "assent/limits.h"
#include "writer.h"

static struct entry *configuration_entry(struct assent_bytes configuration, uint64_t index, uint64_t term)
{
    struct entry *e = configuration.size <= ASSENT_ENTRY_BYTES_MAX
                          ? entry_new(ENTRY_CHANGE, (uint32_t)configuration.size)
                          : NULL;
    if (e != NULL) {
        memcpy(e->payload, configuration.base, configuration.size);
        entry_seal(e, index, term);
    }
    return e;
}

/* Identity, term and an optional entry in one commit; then the cached state follows. */
static int write_identity(struct disk *d, uint64_t cluster_id, uint64_t node_id, uint64_t incarnation,
                          uint64_t term, struct entry *entry)
{
    struct op *append = NULL;
    struct op vote = {.type = OP_PUT, .record = RECORD_VOTE, .fields = {term, 0}, .n = 2};
    struct op identity = {.type = OP_PUT,
                          .next = &vote,
                          .record = RECORD_IDENTITY,
                          .fields = {cluster_id, node_id, incarnation},
                          .n = 3};
    if (entry != NULL) {
        append = malloc(sizeof *append + sizeof append->entries[0]);
        if (append == NULL) {
            return ENOMEM;
        }
        *append = (struct op){.type = OP_APPEND, .index = entry->index, .n = 1};
        append->entries[0] = entry;
        vote.next = append;
    }
    int rc = writer_now(d, &identity);
    free(append);
    if (rc == 0) {
        d->state.pristine = false;
        d->state.cluster_id = cluster_id;
        d->state.node_id = node_id;
        d->state.incarnation = incarnation;
        d->state.term = term;
        d->state.vote = 0;
        d->state.first_index = d->extent.first;
        d->state.last_index = d->extent.last;
    }
    return rc;
}

/* The directory has an identity: is it the one we were started with? */
static int check_identity(const struct disk *d, uint64_t cluster_id, uint64_t node_id, uint64_t incarnation,
                          bool joining, char *err, size_t err_size)
{
    const struct disk_state *s = &d->state;
    if (s->node_id != node_id) {
        return disk_refuse(ASSENT_FOREIGN, err, err_size,
                           "directory %s belongs to node %" PRIu64 ", this is node %" PRIu64
                           ": start it with its own directory, or with an empty one and a new id",
                           d->dir, s->node_id, node_id);
    }
    if (s->cluster_id == 0 && !joining) {
        return disk_refuse(
            ASSENT_FOREIGN, err, err_size,
            "directory %s was made for a node that joins a running cluster and has not done so yet: start it "
            "as a joining node, or wipe the directory",
            d->dir);
    }
    if (cluster_id != 0 && s->cluster_id != 0 && s->cluster_id != cluster_id) {
        return disk_refuse(
            ASSENT_FOREIGN, err, err_size,
            "directory %s belongs to cluster %016" PRIx64 ", this node was started for cluster %016" PRIx64
            ": check the cluster name and the list of initial members, or use an empty directory",
            d->dir, s->cluster_id, cluster_id);
    }
    if (incarnation > s->incarnation && s->cluster_id != 0) {
        return disk_refuse(ASSENT_FOREIGN, err, err_size,
                           "directory %s holds incarnation %" PRIu64
                           " of its cluster, which was recovered as incarnation "
                           "%" PRIu64 " since: wipe the directory and add the node again with a new id",
                           d->dir, s->incarnation, incarnation);
    }
    return 0;
}

int disk_bootstrap(struct disk *disk, uint64_t cluster_id, uint64_t node_id, uint64_t incarnation,
                   const struct assent_bytes *configuration, char *err, size_t err_size)
{
    assert(!disk->started);
    assert(node_id != 0);
    assert(configuration == NULL || cluster_id != 0);
    if (!disk->state.pristine) {
        return check_identity(disk, cluster_id, node_id, incarnation, configuration == NULL, err, err_size);
    }
    struct entry *entry = NULL;
    if (configuration != NULL) {
        if (!configuration_bytes_valid(*configuration)) {
            return disk_refuse(ASSENT_INVALID, err, err_size, "the initial configuration is not valid");
        }
        entry = configuration_entry(*configuration, 1, 1);
        if (entry == NULL) {
            return disk_refuse(ASSENT_NOMEM, err, err_size, "out of memory");
        }
    }
    int rc = write_identity(disk, cluster_id, node_id, incarnation, entry != NULL ? 1 : 0, entry);
    entry_unref(entry);
    if (rc != 0) {
        return disk_refuse(logdb_error(rc), err, err_size, "the log in %s cannot be written: %s", disk->dir,
                           logdb_sentence(rc));
    }
    return 0;
}

int disk_adopt(struct disk *disk, uint64_t cluster_id, uint64_t incarnation)
{
    struct disk_state *s = &disk->state;
    assert(cluster_id != 0);
    if (s->cluster_id == cluster_id && s->incarnation == incarnation) {
        return 0;
    }
    if (s->pristine || s->cluster_id != 0) {
        return ASSENT_FOREIGN;
    }
    struct op op = {
        .type = OP_PUT, .record = RECORD_IDENTITY, .fields = {cluster_id, s->node_id, incarnation}, .n = 3};
    int error = writer_wait(disk, &op);
    if (error == 0) {
        s->cluster_id = cluster_id;
        s->incarnation = incarnation;
    }
    return error;
}

int disk_recover(struct disk *disk, uint64_t node_id, struct assent_bytes configuration, char *err,
                 size_t err_size)
{
    const struct disk_state *s = &disk->state;
    assert(!disk->started);
    if (s->pristine || s->cluster_id == 0 || s->last_index == 0) {
        return disk_refuse(ASSENT_CONFLICT, err, err_size, "directory %s holds nothing to recover from",
                           disk->dir);
    }
    int error = check_identity(disk, s->cluster_id, node_id, s->incarnation, true, err, err_size);
    if (error == 0 && !configuration_bytes_valid(configuration)) {
        error = disk_refuse(ASSENT_INVALID, err, err_size, "the new configuration is not valid");
    }
    if (error == 0) {
        error = disk_load(disk, NULL, NULL, err, err_size); /* a damaged log is no base for a new cluster */
    }
    if (error != 0) {
        return error;
    }
    /* A new term, so that the entry is newer than any other of its index; a new incarnation, so that nodes of
     * the old one are refused in the handshake even if they hold a higher term. */
    struct entry *entry = configuration_entry(configuration, s->last_index + 1, s->term + 1);
    if (entry == NULL) {
        return disk_refuse(ASSENT_NOMEM, err, err_size, "out of memory");
    }
    int rc = write_identity(disk, s->cluster_id, node_id, s->incarnation + 1, s->term + 1, entry);
    entry_unref(entry);
    if (rc != 0) {
        return disk_refuse(logdb_error(rc), err, err_size, "the log in %s cannot be written: %s", disk->dir,
                           logdb_sentence(rc));
    }
    return 0;
}

int disk_restore(struct disk *disk, uint64_t cluster_id, uint64_t node_id, uint64_t incarnation,
                 const struct snapshot_manifest *manifest, char *err, size_t err_size)
{
    struct snapshot_manifest copy = *manifest;
    struct op install = {.type = OP_INSTALL, .manifest = &copy};
    struct op vote = {
        .type = OP_PUT, .next = &install, .record = RECORD_VOTE, .fields = {manifest->term, 0}, .n = 2};
    struct op identity = {.type = OP_PUT,
                          .next = &vote,
                          .record = RECORD_IDENTITY,
                          .fields = {cluster_id, node_id, incarnation},
                          .n = 3};
    assert(!disk->started && cluster_id != 0 && node_id != 0 && manifest->term > 0);
    if (!disk->state.pristine) {
        return disk_refuse(ASSENT_CONFLICT, err, err_size, "directory %s belongs to node %" PRIu64 " already",
                           disk->dir, disk->state.node_id);
    }
    int rc = writer_now(disk, &identity);
    return rc == 0 ? 0
                   : disk_refuse(logdb_error(rc), err, err_size, "the log in %s cannot be written: %s",
                                 disk->dir, logdb_sentence(rc));
}
