/* What takes more than one call: a back-up to a file, a new cluster from it, one member in another's place.
 */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"
#include "process.h"

#define BASE "/api/v1"
/* In front of the image; the checksum is of what follows (docs/api.md). */
#define COVER_BYTES 64
/* A node may fetch a large snapshot before it can be promoted. */
#define REPLACE_MS_LEAST (10 * 60 * 1000)
#define PAUSE_MS         300

static void pause_a_while(void)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    (void)nanosleep(&pause, NULL);
}

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- snapshot save ---- */

/* CRC32C, a byte at a time: the disk and the network are slower. */
static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t size)
{
    static uint32_t table[256];
    for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
        uint32_t v = i;
        for (int bit = 0; bit < 8; bit++) {
            v = v >> 1 ^ ((v & 1) != 0 ? 0x82f63b78u : 0);
        }
        table[i] = v;
    }
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc = crc >> 8 ^ table[(crc ^ p[i]) & 0xff];
    }
    return ~crc;
}

struct download {
    int fd;
    int error; /* errno of the first failed write */
    uint64_t size;
    uint32_t crc; /* of all behind the cover */
};

static size_t receive(char *bytes, size_t one, size_t n, void *data)
{
    struct download *d = data;
    size_t size = one * n, skip = d->size < COVER_BYTES ? COVER_BYTES - (size_t)d->size : 0;
    if (skip < size) {
        d->crc = crc32c(d->crc, (const uint8_t *)bytes + skip, size - skip);
    }
    for (size_t at = 0; at < size;) {
        ssize_t got = write(d->fd, bytes + at, size - at);
        if (got < 0 && errno != EINTR) {
            d->error = errno;
            return 0;
        }
        at += got > 0 ? (size_t)got : 0;
    }
    d->size += size;
    return size;
}

/* Stream from one node into the open file.  Reason of a failure in `why`; false. */
static bool fetch(const struct ctl *ctl, const char *endpoint, const json_t *about, struct download *d,
                  char *why, size_t why_size)
{
    char url[512];
    long status = 0;
    const uint64_t index = (uint64_t)json_integer_value(json_object_get(about, "index"));
    const uint64_t size = (uint64_t)json_integer_value(json_object_get(about, "size"));
    const char *crc = json_string_value(json_object_get(about, "crc"));
    (void)snprintf(url, sizeof url, "http://%s" BASE "/cluster/snapshot/%llu", endpoint,
                   (unsigned long long)index);
    *d = (struct download){.fd = d->fd};
    if (ftruncate(d->fd, 0) != 0 || lseek(d->fd, 0, SEEK_SET) != 0) {
        (void)snprintf(why, why_size, "the file cannot be written: %s", strerror(errno));
        return false;
    }
    CURL *curl = curl_easy_init();
    if (curl == NULL) {
        (void)snprintf(why, why_size, "out of memory");
        return false;
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 2000L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L); /* as long as it goes on, however large it is */
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)(ctl->timeout_ms / 1000 + 1));
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, d);
    CURLcode rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    if (d->error != 0) {
        (void)snprintf(why, why_size, "the file cannot be written: %s", strerror(d->error));
    } else if (rc != CURLE_OK) {
        (void)snprintf(why, why_size, "%s: %s", endpoint,
                       status == 404 ? "it has no such snapshot (any more)" : curl_easy_strerror(rc));
    } else if (d->size != size + COVER_BYTES) {
        (void)snprintf(why, why_size, "%s: %llu bytes came, %llu were announced", endpoint,
                       (unsigned long long)d->size, (unsigned long long)size + COVER_BYTES);
    } else if (crc == NULL || strtoul(crc, NULL, 16) != d->crc) {
        (void)snprintf(why, why_size, "%s: the checksum does not match", endpoint);
    } else {
        return true;
    }
    return false;
}

/* The file under its name and on disk, or an errno. */
static int publish(int fd, const char *tmp, const char *path)
{
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL) {
        slash[slash == folder] = '\0';
    } else {
        (void)snprintf(folder, sizeof folder, ".");
    }
    if (fsync(fd) != 0 || rename(tmp, path) != 0) {
        return errno;
    }
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = dir < 0 || fsync(dir) != 0 ? errno : 0;
    if (dir >= 0) {
        (void)close(dir);
    }
    return error;
}

static enum exit_code save(const struct ctl *ctl, const char *path)
{
    char tmp[PATH_MAX], why[512] = "";
    struct answer a;
    if ((size_t)snprintf(tmp, sizeof tmp, "%s.tmp", path) >= sizeof tmp) {
        return usage_error("'%s' is too long", path);
    }
    struct download d = {.fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    if (d.fd < 0) {
        (void)fprintf(stderr, "assentctl: %s: %s\n", tmp, strerror(errno));
        return EXIT_REFUSED;
    }
    json_t *who = json_pack("{s:s, s:s}", "by", ctl_login(), "reason", "snapshot save");
    if (ctl_login()[0] == '\0') {
        (void)json_object_del(who, "by");
    }
    api_call(ctl, "POST", BASE "/cluster/snapshot", who, false, &a);
    json_decref(who);
    enum exit_code code = a.code;
    if (code != EXIT_DONE) {
        (void)show_failure(ctl, &a);
    } else {
        const char *at = json_string_value(json_object_get(a.data, "httpAddress"));
        bool done = at != NULL && at[0] != '\0' && fetch(ctl, at, a.data, &d, why, sizeof why);
        for (uint32_t i = 0; !done && d.error == 0 && i < ctl->endpoints_n; i++) {
            done = fetch(ctl, ctl->endpoints[i], a.data, &d, why, sizeof why);
        }
        int error = done ? publish(d.fd, tmp, path) : 0;
        if (error != 0) {
            (void)snprintf(why, sizeof why, "%s: %s", path, strerror(error));
        }
        if (!done || error != 0) {
            (void)fprintf(stderr, "assentctl: the snapshot was taken but not saved: %s\n", why);
            code = EXIT_REFUSED;
        } else if (ctl->json) {
            (void)json_object_set_new(a.data, "file", json_string(path));
            show_json(a.data);
        } else {
            (void)printf("%s holds all up to entry %lld of term %lld, %llu bytes, digest %s\n", path,
                         json_integer_value(json_object_get(a.data, "index")),
                         json_integer_value(json_object_get(a.data, "term")), (unsigned long long)d.size,
                         json_string_value(json_object_get(a.data, "digest")));
        }
    }
    api_close(&a);
    (void)close(d.fd);
    if (code != EXIT_DONE) {
        (void)unlink(tmp);
    }
    return code;
}

/* ---- snapshot restore: the daemon's own command, so that one program knows what is on disk ---- */

static enum exit_code restore(int argc, char **argv)
{
    char program[PATH_MAX], word[] = "restore";
    if (!process_find_daemon(program)) {
        (void)fprintf(stderr, "assentctl: there is no assentd beside this program; name it in $ASSENTD\n");
        return EXIT_REFUSED;
    }
    char **arguments = calloc((size_t)argc + 3, sizeof *arguments);
    if (arguments == NULL) {
        return EXIT_REFUSED;
    }
    arguments[0] = program;
    arguments[1] = word;
    for (int i = 0; i < argc; i++) {
        arguments[2 + i] = argv[i];
    }
    (void)execv(program, arguments);
    (void)fprintf(stderr, "assentctl: %s: %s\n", program, strerror(errno));
    free(arguments);
    return EXIT_REFUSED;
}

enum exit_code snapshot_main(const struct ctl *ctl, int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[0], "save") == 0 && argv[1][0] != '\0') {
        return save(ctl, argv[1]);
    }
    if (argc > 0 && strcmp(argv[0], "save") == 0) {
        return usage_error("'snapshot save' needs the file, and nothing else");
    }
    return restore(argc - 1, argv + 1);
}

/* ---- member replace
 * ---------------------------------------------------------------------------------------------
 *
 * Each turn looks at the members as they are and takes the one step that is missing, so an interrupted
 * replacement is resumed by the same command:  add NEW -> promote NEW -> (transfer away from OLD) -> remove
 * OLD -> done. */

struct replacement {
    long long from, to;
    const char *address;
    bool old_first; /* OLD, which is dead, must go before NEW may be promoted */
    bool old_gone;  /* it was removed by this run */
};

static const json_t *member_of(const json_t *view, long long id)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(view, "nodes"), i, node)
    {
        if (json_integer_value(json_object_get(node, "id")) == id) {
            return node;
        }
    }
    return NULL;
}

static const json_t *member_at(const json_t *view, const char *address)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(view, "nodes"), i, node)
    {
        const char *at = json_string_value(json_object_get(node, "raftAddress"));
        if (at != NULL && strcmp(at, address) == 0) {
            return node;
        }
    }
    return NULL;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* What is to be done next; NULL: nothing, `code` says how it ended. */
struct step {
    const char *say, *verb;
    char path[128];
    json_t *body;
    enum exit_code code;
};

static void step_post(struct step *s, const char *say, const char *verb, long long id)
{
    s->say = say;
    s->verb = verb;
    (void)snprintf(s->path, sizeof s->path, BASE "/cluster/members/%lld/%s", id, verb);
}

static struct step choose(const struct replacement *r, const json_t *view)
{
    struct step s = {.code = EXIT_DONE};
    const json_t *from = member_of(view, r->from), *to = member_of(view, r->to);
    const json_t *there = member_at(view, r->address);
    bool leads = from != NULL && json_integer_value(json_object_get(view, "leaderId")) == r->from;
    if (to == NULL && from == NULL && !r->old_gone) {
        s.code = EXIT_REFUSED;
        (void)fprintf(
            stderr,
            "assentctl: neither node %lld nor node %lld is a member; if the old one has been removed "
            "already, 'member add' and 'member promote' do the rest\n",
            r->from, r->to);
    } else if (to == NULL && there != NULL && there != from) {
        s.code = EXIT_REFUSED;
        (void)fprintf(stderr, "assentctl: node %lld is at %s\n",
                      json_integer_value(json_object_get(there, "id")), r->address);
    } else if (to == NULL && there != NULL && !leads) {
        step_post(&s, "the new node takes the old one's address: removing the old node first", "remove",
                  r->from);
    } else if (to == NULL && !(leads && there != NULL)) {
        s.say = "adding the new node as a non-voter";
        s.verb = "add";
        (void)snprintf(s.path, sizeof s.path, BASE "/cluster/members");
        s.body = json_pack("{s:I, s:s}", "id", (json_int_t)r->to, "address", r->address);
    } else if (to != NULL && strcmp(text_of(to, "raftAddress"), r->address) != 0) {
        s.code = EXIT_REFUSED;
        (void)fprintf(stderr, "assentctl: node %lld is a member already, at %s\n", r->to,
                      text_of(to, "raftAddress"));
    } else if (to != NULL && !json_is_true(json_object_get(to, "voter")) && !(r->old_first && from != NULL)) {
        step_post(&s, "waiting until it has caught up, then promoting it", "promote", r->to);
    } else if (leads) {
        s.say = "the old node leads: handing leadership to another";
        s.verb = "transfer";
        (void)snprintf(s.path, sizeof s.path, BASE "/cluster/transfer");
        s.body = json_object();
    } else if (from != NULL) {
        step_post(&s, "removing the old node", "remove", r->from);
    }
    return s;
}

/* Is it worth another look, because the change is under way, or somebody else leads now? */
static bool passing(const struct answer *a)
{
    static const char *const names[] = {"CHANGE_PENDING", "NOT_LEADER", "NO_LEADER", "TIMEOUT",
                                        "UNREACHABLE",    "EXISTS",     "NOT_MEMBER"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(a->error, names[i]) == 0) {
            return true;
        }
    }
    return a->code == EXIT_UNREACHABLE || a->code == EXIT_UNKNOWN;
}

/* Take a step; its failure in `a`.  False: it failed for good. */
static bool take(const struct ctl *ctl, struct replacement *r, const json_t *view, struct step *s,
                 struct answer *a)
{
    const json_t *from = member_of(view, r->from);
    if (ctl_login()[0] != '\0') {
        (void)json_object_set_new(s->body, "by", json_string(ctl_login()));
    }
    (void)json_object_set_new(s->body, "reason", json_string("member replace"));
    api_call(ctl, "POST", s->path, s->body, true, a);
    r->old_gone = r->old_gone || strcmp(s->verb, "remove") == 0;
    if (a->code == EXIT_DONE) {
        return true;
    }
    /* The leader cannot ask a dead voter whether it knows the configuration, and says so. */
    if (strcmp(s->verb, "promote") == 0 && strcmp(a->error, "CHANGE_PENDING") == 0 && from != NULL &&
        strcmp(text_of(from, "state"), "DOWN") == 0 && strstr(a->message, "confirmed") != NULL) {
        r->old_first = true;
    }
    return passing(a);
}

static enum exit_code replace(const struct ctl *ctl, struct replacement *r)
{
    struct ctl call = *ctl;
    char last[128] = "", why[512] = "";
    int64_t until = now_ms() + (ctl->timeout_ms > REPLACE_MS_LEAST ? ctl->timeout_ms : REPLACE_MS_LEAST);
    call.timeout_ms = ctl->timeout_ms > 15000 ? ctl->timeout_ms : 15000;
    for (; now_ms() < until; pause_a_while()) {
        struct answer view, a = {.code = EXIT_DONE};
        commands_view(ctl, &view);
        if (view.code != EXIT_DONE || json_integer_value(json_object_get(view.data, "leaderId")) == 0) {
            (void)snprintf(why, sizeof why, "no leader is known");
            api_close(&view);
            continue;
        }
        struct step s = choose(r, view.data);
        if (s.verb == NULL) {
            api_close(&view);
            if (s.code == EXIT_DONE) {
                (void)printf("node %lld has taken the place of node %lld\n", r->to, r->from);
            }
            return s.code;
        }
        if (strcmp(last, s.path) != 0) {
            (void)printf("%s (%s)\n", s.say, s.verb);
            (void)fflush(stdout);
            (void)snprintf(last, sizeof last, "%s", s.path);
        }
        bool go_on = take(&call, r, view.data, &s, &a);
        (void)snprintf(why, sizeof why, "%s", a.message);
        enum exit_code code = go_on ? EXIT_DONE : show_failure(ctl, &a);
        api_close(&a);
        api_close(&view);
        json_decref(s.body);
        if (code != EXIT_DONE) {
            return code;
        }
    }
    (void)fprintf(stderr, "assentctl: not finished in time (%s); the same command goes on from here\n", why);
    return EXIT_UNKNOWN;
}

static bool id_of(const char *text, long long *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *out > 0;
}

enum exit_code replace_main(const struct ctl *ctl, int argc, char **argv)
{
    struct replacement r = {0};
    if (argc != 3 || !id_of(argv[0], &r.from) || !id_of(argv[1], &r.to) || r.from == r.to ||
        strchr(argv[2], ':') == NULL) {
        return usage_error("'member replace' needs the old id, a new id and the new node's raft host:port");
    }
    r.address = argv[2];
    return replace(ctl, &r);
}
