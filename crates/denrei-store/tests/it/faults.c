/* Loaded into a test process: system calls fail with EIO while the file of their name is in $DENREI_STORE_FAULTS. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int failing(const char *name) {
    const char *directory = getenv("DENREI_STORE_FAULTS");
    char path[4096];
    if (!directory) return 0;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (access(path, F_OK)) return 0;
    errno = EIO;
    return 1;
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    return failing("fsync") ? -1 : real(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    return failing("fsync") ? -1 : real(fd);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    return failing("pwrite") ? -1 : real(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    return failing("pwrite") ? -1 : real(fd, data, size, at);
}
