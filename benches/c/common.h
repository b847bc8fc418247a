/* What the C programs of the suite share: the clock, fatal errors, one way to print a result. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NS_PER_S 1000000000ull

static inline uint64_t now_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Wall time that is never set back. */
static inline uint64_t wall_ns(void) { return now_ns(CLOCK_MONOTONIC); }

/* CPU time of this process, all threads. */
static inline uint64_t cpu_ns(void) { return now_ns(CLOCK_PROCESS_CPUTIME_ID); }

/* One line of the harness's protocol (benches/README.md). */
static inline void report(const char *metric, double value, const char *unit)
{
    printf("{\"metric\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"}\n", metric, value, unit);
}

static inline void die_if(int failed, const char *what)
{
    if (failed) {
        perror(what);
        exit(1);
    }
}

#endif
