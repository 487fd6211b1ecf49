// SPDX-License-Identifier: Apache-2.0
/* Shows each file of the folders named to one fuzzer, so that what once was found stays so. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return 0;
    /* Exactly as large as the file, so that reading past it is seen. */
    (void)fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    if (!data || size < 0 || fread(data, 1, (size_t)size, f) != (size_t)size)
        abort();
    (void)fclose(f);
    (void)LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    return 1;
}

int main(int argc, char **argv)
{
    int files = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        for (struct dirent *d; dir && (d = readdir(dir));) {
            char path[4096];
            (void)snprintf(path, sizeof path, "%s/%s", argv[i], d->d_name);
            if (d->d_name[0] != '.')
                files += replay(path);
        }
        if (dir)
            (void)closedir(dir);
    }
    return files > 0 ? 0 : 1;
}
