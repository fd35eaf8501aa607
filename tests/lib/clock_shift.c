/* Stands before libc in a node under test: the wall clock is wrong by the milliseconds in a file.
 *
 * Only CLOCK_REALTIME is touched, as an operator or a broken NTP would touch it; the file may change while
 * the node runs.  The programs under test have no such option: this library is part of the tests alone. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift_ms;

__attribute__((constructor)) static void open_shift(void)
{
    const char *path = getenv("CLOCK_SHIFT_FILE");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        shift_ms = map;
}

int clock_gettime(clockid_t clock, struct timespec *out);
int clock_gettime(clockid_t clock, struct timespec *out)
{
    int rv = (int)syscall(SYS_clock_gettime, clock, out);
    if (rv != 0 || clock != CLOCK_REALTIME || shift_ms == NULL)
        return rv;
    int64_t ns = (int64_t)out->tv_nsec + *shift_ms % 1000 * 1000000;
    out->tv_sec += *shift_ms / 1000 + (ns >= 1000000000) - (ns < 0);
    out->tv_nsec = ns >= 1000000000 ? ns - 1000000000 : ns < 0 ? ns + 1000000000 : ns;
    return 0;
}
