/* Back-ups: their cover, and the way from one to the data directory of a new cluster.
 *
 * The happy path of a restore: the cover says what the image is, the image proves it (CRC and digest), the
 * options say who the members are, raftlog_restore() builds the directory.  The failures leave a directory
 * that is not empty, and say so. */
#include "backup.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "assent/error.h"
#include "config.h"
#include "entry.h"
#include "statemachine.h"
#include "wire.h"

#define BACKUP_FORMAT   1
#define EXIT_USAGE      64 /* sysexits: EX_USAGE */
#define ARGUMENTS_MAX   64
#define SNAP_NAME_BYTES 38 /* <16 hex>-<16 hex>.snap */

static const char magic[8] = {'A', 'S', 'S', 'E', 'N', 'T', 'B', 'K'};

void backup_cover_encode(const struct raftlog_snapshot *s, uint64_t cluster_id,
                         uint8_t out[BACKUP_COVER_BYTES])
{
    struct wire_writer w = {out};
    wire_put_bytes(&w, (struct assent_bytes){(const uint8_t *)magic, sizeof magic});
    wire_put(&w, BACKUP_FORMAT, 4);
    wire_put(&w, s->crc, 4);
    wire_put(&w, s->index, 8);
    wire_put(&w, s->term, 8);
    wire_put(&w, s->size, 8);
    wire_put(&w, s->digest, 8);
    wire_put(&w, cluster_id, 8);
    wire_put(&w, 0, 4);
    wire_put(&w, crc32c(0, out, BACKUP_COVER_BYTES - 4), 4);
    assert(w.p == out + BACKUP_COVER_BYTES);
}

bool backup_cover_decode(const uint8_t cover[BACKUP_COVER_BYTES], struct raftlog_snapshot *out,
                         uint64_t *cluster_id)
{
    struct wire_reader r = {cover + sizeof magic, BACKUP_COVER_BYTES - sizeof magic, true};
    *out = (struct raftlog_snapshot){0};
    uint64_t format = wire_get(&r, 4);
    out->crc = (uint32_t)wire_get(&r, 4);
    out->index = wire_get(&r, 8);
    out->term = wire_get(&r, 8);
    out->size = wire_get(&r, 8);
    out->digest = wire_get(&r, 8);
    *cluster_id = wire_get(&r, 8);
    uint64_t zero = wire_get(&r, 4);
    uint64_t crc = wire_get(&r, 4);
    return memcmp(cover, magic, sizeof magic) == 0 && format == BACKUP_FORMAT && zero == 0 &&
           crc == crc32c(0, cover, BACKUP_COVER_BYTES - 4) && out->index > 0 && out->term > 0;
}

/* ---- assentd restore ---- */

static void help(FILE *out)
{
    fprintf(out,
            "assentd restore: build the data directory of one member of a NEW cluster from a back-up\n\n"
            "  assentd restore FILE --id ID --data DIR --cluster 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT\n"
            "                  [--cluster-name NAME]\n\n"
            "Run it once per member with the same FILE, --cluster and --cluster-name, each on an empty\n"
            "directory; then start the nodes with these options.  FILE is what 'assentctl snapshot save'\n"
            "wrote, or a file of a lost node's DATA/snapshots.  The cluster gets a number of its own: nodes\n"
            "of the old one refuse it and are refused.\n");
}

/* The term of a node's own snapshot file, which stands in its name; 0: it has another name. */
static uint64_t term_of_name(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    if (strlen(name) != SNAP_NAME_BYTES || strspn(name, "0123456789abcdef") != 16 || name[16] != '-' ||
        strspn(name + 17, "0123456789abcdef") != 16 || strcmp(name + 33, ".snap") != 0)
        return 0;
    return strtoull(name + 17, NULL, 16);
}

/* CRC32C of a file from `offset` on. */
static bool checksum(int fd, uint64_t offset, uint32_t *crc)
{
    uint8_t piece[64 * 1024];
    *crc = 0;
    for (ssize_t n; (n = pread(fd, piece, sizeof piece, (off_t)offset)) != 0; offset += (uint64_t)n) {
        if (n < 0)
            return false;
        *crc = crc32c(*crc, piece, (size_t)n);
    }
    return true;
}

/* What the file holds, verified.  0 or an assent_error with a sentence. */
static int examine(const char *file, struct raftlog_snapshot *s, uint64_t *offset, char *err, size_t err_size)
{
    uint8_t cover[BACKUP_COVER_BYTES];
    uint64_t cluster_id;
    uint32_t crc;
    struct sm_image image;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : pread(fd, cover, sizeof cover, 0);
    if (got < 0) {
        snprintf(err, err_size, "%.300s cannot be read: %s", file, strerror(errno));
        if (fd >= 0)
            close(fd);
        return ASSENT_IO;
    }
    bool covered = got >= (ssize_t)sizeof magic && memcmp(cover, magic, sizeof magic) == 0;
    bool cover_good = covered && got == sizeof cover && backup_cover_decode(cover, s, &cluster_id);
    *offset = covered ? BACKUP_COVER_BYTES : 0;
    bool read = checksum(fd, *offset, &crc);
    close(fd);
    if (!read) {
        snprintf(err, err_size, "%.300s cannot be read", file);
        return ASSENT_IO;
    }
    if (covered && (!cover_good || crc != s->crc)) {
        snprintf(err, err_size,
                 "%.300s is damaged or cut off: its checksum does not match; use another back-up", file);
        return ASSENT_CORRUPT;
    }
    int status = sm_image_check(file, *offset, &image, err, err_size);
    if (status != ASSENT_OK)
        return status;
    if (!covered)
        *s = (struct raftlog_snapshot){.index = image.index,
                                       .term = term_of_name(file),
                                       .size = image.size,
                                       .digest = image.digest,
                                       .crc = crc};
    if (s->term == 0) {
        snprintf(err, err_size,
                 "%.300s holds an image without its term: give a snapshot file of a node its own name back, "
                 "<index>-<term>.snap",
                 file);
        return ASSENT_INVALID;
    }
    if (s->index != image.index || s->size != image.size || s->digest != image.digest) {
        snprintf(err, err_size, "%.300s: the cover is of another image", file);
        return ASSENT_CORRUPT;
    }
    return ASSENT_OK;
}

/* True: it holds nothing, or is not there yet. */
static bool directory_empty(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return errno == ENOENT;
    bool empty = true;
    for (struct dirent *d; empty && (d = readdir(dir)) != NULL;)
        empty = strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0;
    closedir(dir);
    return empty;
}

static int restore(const char *file, const struct config *c, char *err, size_t err_size)
{
    struct raftlog_restore r = {.dir = c->data,
                                .id = c->id,
                                .cluster_name = c->cluster_name,
                                .servers = c->servers,
                                .servers_n = c->servers_n,
                                .file = file};
    if (c->join || c->servers_n == 0) {
        snprintf(err, err_size, "--cluster must list all members of the new cluster, this one too");
        return ASSENT_INVALID;
    }
    if (!directory_empty(c->data)) {
        snprintf(err, err_size, "%.300s is not an empty directory: a restored node starts with nothing else",
                 c->data);
        return ASSENT_CONFLICT;
    }
    int status = examine(file, &r.snapshot, &r.offset, err, err_size);
    if (status == ASSENT_OK)
        status = raftlog_restore(&r, err, err_size);
    if (status == ASSENT_OK)
        printf("Node %llu of a new cluster of %u begins behind entry %llu of term %llu, digest %016llx.\n"
               "Restore the other members from the same file, then start all of them.\n",
               (unsigned long long)c->id, c->servers_n, (unsigned long long)r.snapshot.index,
               (unsigned long long)r.snapshot.term, (unsigned long long)r.snapshot.digest);
    return status;
}

int backup_restore_main(int argc, char **argv, char **env)
{
    char *arguments[ARGUMENTS_MAX + 2], insecure[] = "--insecure";
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help(stdout);
        return EXIT_SUCCESS;
    }
    if (argc < 2 || argv[1][0] == '-' || argc > ARGUMENTS_MAX) {
        help(stderr);
        fprintf(stderr, "\nassentd: restore needs the file first\n");
        return EXIT_USAGE;
    }
    /* The node's own options, so that a list or a name means the same here and at its start. */
    int n = 0;
    bool said = false;
    arguments[n++] = argv[0];
    for (int i = 2; i < argc; i++) {
        said = said || strcmp(argv[i], insecure) == 0;
        arguments[n++] = argv[i];
    }
    if (!said)
        arguments[n++] = insecure; /* nothing is served here */
    arguments[n] = NULL;
    struct config config;
    char err[CONFIG_ERROR_BYTES] = "";
    enum config_answer answer = config_load(&config, n, arguments, env, err, sizeof err);
    int status = answer == CONFIG_HELP ? EXIT_SUCCESS : EXIT_USAGE;
    if (answer == CONFIG_HELP) {
        help(stdout);
    } else if (answer != CONFIG_RUN) {
        fprintf(stderr, "assentd: restore: %s\n", err);
    } else {
        int code = restore(argv[1], &config, err, sizeof err);
        status = code == ASSENT_OK ? EXIT_SUCCESS : EXIT_FAILURE;
        if (code != ASSENT_OK)
            fprintf(stderr, "assentd: restore failed: %s\n", err[0] != 0 ? err : assent_error_sentence(code));
    }
    config_close(&config);
    return status;
}
