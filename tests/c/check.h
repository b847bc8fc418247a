/* A test program is a list of tests; each runs in a process of its own and must leave nothing
 * behind: no handle, descriptor, thread or child.
 *
 *     program --list     prints the names
 *     program NAME       runs one
 *
 * tests/c/run.py does both. */
#ifndef CHECK_H
#define CHECK_H

#include <dirent.h>
#include <errno.h>
#include <libruntime/runtime.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) check_fail(__FILE__, __LINE__, #condition, 0, 0);                    \
    } while (0)

/* Compares integers, and prints both. */
#define CHECK_EQ(actual, expected)                                                             \
    do {                                                                                       \
        long long check_a = (long long)(actual), check_e = (long long)(expected);              \
        if (check_a != check_e)                                                                \
            check_fail(__FILE__, __LINE__, #actual " == " #expected, check_a, check_e);        \
    } while (0)

/* A call that must return RT_OK. */
#define OK(call) CHECK_EQ(call, RT_OK)

#define TEST(name)                                                                             \
    static void name(void);                                                                    \
    __attribute__((constructor)) static void check_register_##name(void) {                     \
        check_register(#name, name);                                                           \
    }                                                                                          \
    static void name(void)

#define MS 1000000ull

static struct check_test {
    const char *name;
    void (*run)(void);
} check_tests[128];
static int check_count;

__attribute__((noreturn, unused)) static void check_fail(const char *file, int line,
        const char *what, long long actual, long long expected) {
    fprintf(stderr, "%s:%d: %s", file, line, what);
    if (actual != expected) fprintf(stderr, " (%lld, wanted %lld)", actual, expected);
    if (actual < 0) fprintf(stderr, " %s", rt_err_name((int)actual));
    fputc('\n', stderr);
    exit(1);
}

static void check_register(const char *name, void (*run)(void)) {
    if (check_count == 128) abort();
    check_tests[check_count].name = name;
    check_tests[check_count++].run = run;
}

/* How many entries a folder of /proc has, the reading itself not counted. */
static int check_entries(const char *folder) {
    DIR *dir = opendir(folder);
    struct dirent *entry;
    int count = 0, own = 0;
    if (dir == NULL) return -1;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.') continue;
        if (atoi(entry->d_name) == dirfd(dir)) own = 1;
        count++;
    }
    if (strstr(folder, "/fd") == NULL) own = 0;
    closedir(dir);
    return count - own;
}

__attribute__((unused)) static int check_fds(void) { return check_entries("/proc/self/fd"); }

__attribute__((unused)) static int check_threads(void) {
    return check_entries("/proc/self/task");
}

/* Counts calls of `drop`, for data that is a pointer to an int. */
__attribute__((unused)) static void count_drop(void *data) {
    __atomic_add_fetch((int *)data, 1, __ATOMIC_SEQ_CST);
}

__attribute__((unused)) static int count_of(int *count) {
    return __atomic_load_n(count, __ATOMIC_SEQ_CST);
}

int main(int argc, char **argv) {
    int fds, threads, i;
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (i = 0; i < check_count; i++) puts(check_tests[i].name);
        return 0;
    }
    for (i = 0; i < check_count; i++)
        if (argc == 2 && strcmp(argv[1], check_tests[i].name) == 0) break;
    if (i == check_count) {
        fprintf(stderr, "usage: %s --list | NAME\n", argv[0]);
        return 2;
    }
    fds = check_fds();
    threads = check_threads();
    check_tests[i].run();
    CHECK_EQ(rt_handles_live(), 0);
    /* A thread that was joined may stay visible for a moment: join returns before the system has
     * taken it off the list. One that freed its own runtime closes its descriptors as it ends. */
    for (i = 0; i < 1000 && check_threads() > threads; i++) poll(NULL, 0, 1);
    CHECK_EQ(check_threads(), threads);
    CHECK_EQ(check_fds(), fds);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    return 0;
}

#endif
