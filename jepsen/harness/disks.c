/* Disks of the cluster under test: per node an ext4 in a deleted file behind a loop device.
 *
 * The mounts stand in a mount namespace of the judge, so no process of others can hold one, and a disk whose
 * power was cut is really mounted anew.  Source: the kernel's ext4 shutdown, which journals nothing more
 * (flag 2). */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nodes.h"

#define DISK_BYTES           ((off_t)1 << 30) /* sparse */
#define EXT4_IOC_SHUTDOWN    _IOR('X', 125, uint32_t)
#define SHUTDOWN_WITHOUT_LOG 2u
/* The journal commits rarely, so what nobody synced does not survive by luck. */
#define MOUNT_OPTIONS "commit=300,noinit_itable"

/* A loop device over the file, ended by the kernel when nobody has it open: its descriptor. */
static int loop_open(int file, char *device, size_t size)
{
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    for (int tries = 0; control >= 0 && tries < 20; tries++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        struct loop_config config = {.fd = (uint32_t)file, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
        snprintf(device, size, "/dev/loop%d", number);
        int fd = number >= 0 ? open(device, O_RDWR | O_CLOEXEC) : -1;
        if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            close(control);
            return fd;
        }
        if (fd >= 0)
            close(fd); /* somebody else was faster */
    }
    if (control >= 0)
        close(control);
    return -1;
}

static void device_of(const struct sut_node *n, char *out, size_t size)
{
    struct loop_info64 info = {0};
    ioctl(n->loop, LOOP_GET_STATUS64, &info);
    snprintf(out, size, "/dev/loop%u", info.lo_number);
}

static bool mounted(struct sut_node *n)
{
    char device[32];
    device_of(n, device, sizeof device);
    return mount(device, n->dir, "ext4", MS_NOATIME, MOUNT_OPTIONS) == 0;
}

static bool disk_up(struct sut_node *n, char *why, size_t why_size)
{
    char path[340], device[32];
    snprintf(path, sizeof path, "%s.img", n->dir);
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, DISK_BYTES) != 0 ||
        sut_command(-1, "mkfs.ext4 -q -F -m 0 %s", path) != 0) {
        snprintf(why, why_size, "%s: no ext4 can be made (e2fsprogs): %s", path, strerror(errno));
        unlink(path);
        if (file >= 0)
            close(file);
        return false;
    }
    unlink(path);
    n->loop = loop_open(file, device, sizeof device);
    close(file);
    mkdir(n->dir, 0750);
    if (n->loop >= 0 && mounted(n))
        return true;
    snprintf(why, why_size, "%s cannot be mounted on a loop device: %s", n->dir, strerror(errno));
    return false;
}

bool disks_up(struct sut *s, char *why, size_t why_size)
{
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        snprintf(why, why_size, "disks need a mount namespace (root): %s", strerror(errno));
        return false;
    }
    for (uint32_t i = 0; i < s->n; i++)
        if (!disk_up(&s->nodes[i], why, why_size))
            return false;
    return true;
}

void disks_down(struct sut *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->nodes[i].loop < 0)
            continue;
        umount2(s->nodes[i].dir, MNT_DETACH);
        close(s->nodes[i].loop);
        s->nodes[i].loop = -1;
    }
}

bool disk_cut(struct sut *s, uint32_t i)
{
    uint32_t how = SHUTDOWN_WITHOUT_LOG;
    int fd = open(s->nodes[i].dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && ioctl(fd, EXT4_IOC_SHUTDOWN, &how) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

bool disk_again(struct sut *s, uint32_t i)
{
    return umount2(s->nodes[i].dir, 0) == 0 && mounted(&s->nodes[i]);
}
