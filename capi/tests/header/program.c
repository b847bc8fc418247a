#include <libruntime/runtime.h>
#include <stdio.h>

struct counter { rt_timer *timer; int left; };

static void tick(void *data) {
    struct counter *counter = data;
    printf("%d\n", counter->left);
    if (--counter->left == 0) rt_timer_stop(counter->timer);
}

int main(void) {
    struct counter counter = {NULL, 3};
    rt_loop *loop;
    int status = rt_loop_new(NULL, &loop);
    if (status < 0) return fprintf(stderr, "%s\n", rt_strerror(status)), 1;
    status = rt_timer_new(loop, tick, &counter, NULL, &counter.timer);
    if (status == RT_OK) {
        rt_timer_start(counter.timer, 100000000, 100000000);
        status = rt_loop_run(loop); /* until the timer is stopped */
        rt_timer_free(counter.timer);
    }
    rt_loop_free(loop);
    return status != RT_OK;
}
