/* A latency histogram: log-linear buckets, 64 to each power of two, so a percentile is within 1.6%. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>
#include <stddef.h>

enum { HIST_SUB_BITS = 6, HIST_SUB = 1 << HIST_SUB_BITS, HIST_BUCKETS = 48 * HIST_SUB };

struct histogram {
    uint64_t count;
    uint64_t bucket[HIST_BUCKETS];
};

static inline size_t hist_index(uint64_t value)
{
    if (value < HIST_SUB)
        return (size_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HIST_SUB_BITS;
    size_t index = ((size_t)(shift + 1) << HIST_SUB_BITS) + (size_t)((value >> shift) - HIST_SUB);
    return index < HIST_BUCKETS ? index : HIST_BUCKETS - 1;
}

static inline void hist_record(struct histogram *hist, uint64_t value)
{
    hist->bucket[hist_index(value)]++;
    hist->count++;
}

/* The middle of the bucket that holds the given fraction (0..1) of the values. */
static inline double hist_percentile(const struct histogram *hist, double fraction)
{
    uint64_t wanted = (uint64_t)(fraction * (double)hist->count), seen = 0;
    for (size_t i = 0; i < HIST_BUCKETS; i++) {
        seen += hist->bucket[i];
        if (seen > wanted) {
            if (i < HIST_SUB)
                return (double)i;
            unsigned shift = (unsigned)(i >> HIST_SUB_BITS) - 1;
            uint64_t low = (uint64_t)(HIST_SUB + (i & (HIST_SUB - 1))) << shift;
            return (double)low + (double)(1ull << shift) / 2;
        }
    }
    return 0;
}

#endif
