/* A back-up: one file with a cover of 64 bytes and the image of a snapshot behind it; made by the HTTP door,
 * turned into the data directory of a new cluster by `assentd restore`.
 *
 * The cover, little-endian: magic "ASSENTBK", u32 format = 1, u32 CRC32C of the image, u64 index, u64 term,
 * u64 size of the image, u64 its digest, u64 cluster it comes from, u32 zero, u32 CRC32C of all before. */
#ifndef NODE_BACKUP_H
#define NODE_BACKUP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define BACKUP_COVER_BYTES 64

struct raftlog_snapshot;

void backup_cover_encode(const struct raftlog_snapshot *snapshot, uint64_t cluster_id,
                         uint8_t out[BACKUP_COVER_BYTES]);
/* Fills all but the path.  False: not a cover, or a damaged one. */
bool backup_cover_decode(const uint8_t cover[BACKUP_COVER_BYTES], struct raftlog_snapshot *out,
                         uint64_t *cluster_id);

/* The command `assentd restore FILE ...`; argv[0] is "restore".  Gives the exit status. */
int backup_restore_main(int argc, char **argv, char **env);

#endif /* NODE_BACKUP_H */
