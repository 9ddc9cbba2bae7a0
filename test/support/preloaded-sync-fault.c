/*
 * Makes fsync and fdatasync fail with EIO, for files whose path begins with what the control file holds. Preloaded into
 * the processes under test; without a control file it does nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_to_fail(int fd) {
  const char *control = getenv("FARSHORE_TEST_SYNC_FAULT");
  char prefix[4096], link[64], path[4096];
  int file;
  ssize_t length, found;
  if (control == NULL || (file = open(control, O_RDONLY | O_CLOEXEC)) < 0) return 0;
  length = read(file, prefix, sizeof prefix);
  close(file);
  if (length <= 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  found = readlink(link, path, sizeof path);
  return found >= length && memcmp(path, prefix, (size_t)length) == 0;
}

#define FAILING(name)                                             \
  int name(int fd) {                                              \
    static int (*real)(int);                                      \
    int before = errno;                                           \
    if (is_to_fail(fd)) {                                         \
      errno = EIO;                                                \
      return -1;                                                  \
    }                                                             \
    errno = before;                                               \
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, #name); \
    return real(fd);                                              \
  }

FAILING(fsync)
FAILING(fdatasync)
