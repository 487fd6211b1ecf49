// SPDX-License-Identifier: Apache-2.0
#include "component/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool small_file_write(int dirfd, const char *name, const char *text)
{
    char temp[64];
    snprintf(temp, sizeof temp, "%s.new", name);
    int fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    size_t len = strlen(text);
    bool ok = write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
    int error = errno;
    ok = close(fd) == 0 && ok;
    ok = ok && renameat(dirfd, temp, dirfd, name) == 0 && fsync(dirfd) == 0;
    if (!ok)
        errno = error;
    return ok;
}

bool small_file_read(int dirfd, const char *name, char *out, size_t size)
{
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, out, size - 1);
    close(fd);
    if (n < 0)
        return false;
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return true;
}
