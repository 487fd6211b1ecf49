// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/failpoint.h"

static char directory[] = "/tmp/xs-failpoint-XXXXXX";

static void arm(const char *name, const char *what)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(what, f);
    fclose(f);
}

static bool is_armed(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return access(path, F_OK) == 0;
}

/* Which passage of a child was its last, and how it ended. */
static int passages(const char *name, const char *text, int *status_out)
{
    int count[2], n = 0;
    char c;
    assert_int_equal(pipe(count), 0);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 5; i++) {
            failpoint_pass(name, text);
            if (write(count[1], "x", 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    close(count[1]);
    while (read(count[0], &c, 1) == 1)
        n++;
    close(count[0]);
    assert_int_equal(waitpid(pid, status_out, WUNTRACED), pid);
    return n;
}

static void a_place_that_is_not_armed_is_passed(void **state)
{
    int status;
    (void)state;
    assert_int_equal(passages("nothing", NULL, &status), 5);
    assert_true(WIFEXITED(status));
}

static void the_third_passage_kills_and_disarms(void **state)
{
    int status;
    (void)state;
    arm("third", "kill 3\n");
    assert_int_equal(passages("third", NULL, &status), 2);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_false(is_armed("third"));
    assert_int_equal(passages("third", NULL, &status), 5);
}

static void a_text_acts_whenever_it_is_at_hand(void **state)
{
    int status;
    (void)state;
    arm("text", "kill poison\n");
    assert_int_equal(passages("text", "harmless", &status), 5);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(passages("text", "poison", &status), 0);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_true(is_armed("text"));
    }
}

static void without_a_directory_nothing_happens(void **state)
{
    int status;
    (void)state;
    arm("off", "kill\n");
    unsetenv("SIDECAR_FAILPOINTS");
    assert_int_equal(passages("off", NULL, &status), 5);
    setenv("SIDECAR_FAILPOINTS", directory, 1);
    assert_int_equal(passages("off", NULL, &status), 0);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(directory) && setenv("SIDECAR_FAILPOINTS", directory, 1) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", directory);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_that_is_not_armed_is_passed),
        cmocka_unit_test(the_third_passage_kills_and_disarms),
        cmocka_unit_test(a_text_acts_whenever_it_is_at_hand),
        cmocka_unit_test(without_a_directory_nothing_happens),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
