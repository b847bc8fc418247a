/*
 * The load generator: one thread, one epoll, the same for every candidate of every suite.
 *
 *   load --port P --pid PID [--connections N] [--size BYTES] [--seconds S] [--warmup S] [--churn]
 *
 * Each connection keeps one message in flight: it sends SIZE bytes, waits until all of them came back,
 * compares them with what was sent, and sends again. With --churn a connection is opened for each
 * message and reset after it. The server's CPU time is read from the scheduler's account of its threads
 * at both ends of the measured window, so warm-up and start cost nothing. The warm-up begins when every
 * connection has had one answer; until then the answered ones wait, so that a server accepts undisturbed.
 * Exit status 1 if a byte differs or a connection fails.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "histogram.h"

enum { MAX_EVENTS = 1024, RECV_BYTES = 256 * 1024, OPEN_AT_ONCE = 100, OPEN_SECONDS = 20 };

struct options {
    int port, pid, connections, churn;
    size_t size;
    double seconds, warmup;
};

struct connection {
    int fd;
    int watches_write;
    int answered;
    size_t sent, received;
    uint64_t started_ns;
};

struct load {
    struct options options;
    struct sockaddr_in address;
    struct connection *connections;
    char *message, *buffer;
    int epoll;
    int all_open, measuring;
    int answered; /* connections that have had a message back */
    uint64_t messages, all_messages;
    struct histogram latency;
};

/* CPU time in ns of all live threads of a process, and of its main thread alone. */
struct cpu_account {
    uint64_t all, main_thread;
};

static struct cpu_account cpu_account(int pid)
{
    struct cpu_account account = {0, 0};
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    die_if(!tasks, path);
    for (struct dirent *entry; (entry = readdir(tasks));) {
        int tid = atoi(entry->d_name);
        if (tid <= 0)
            continue;
        char name[96];
        snprintf(name, sizeof name, "%s/%d/schedstat", path, tid);
        FILE *file = fopen(name, "r");
        if (!file)
            continue; /* the thread ended meanwhile */
        unsigned long long ran = 0;
        if (fscanf(file, "%llu", &ran) == 1) {
            account.all += ran;
            if (tid == pid)
                account.main_thread = ran;
        }
        fclose(file);
    }
    closedir(tasks);
    return account;
}

static void watch(struct load *load, struct connection *c, int operation, int write)
{
    struct epoll_event event = {.events = EPOLLIN | (write ? EPOLLOUT : 0u), .data.ptr = c};
    die_if(epoll_ctl(load->epoll, operation, c->fd, &event) < 0, "epoll_ctl");
    c->watches_write = write;
}

static void open_connection(struct load *load, struct connection *c)
{
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    die_if(c->fd < 0, "socket");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->sent = c->received = 0;
    c->started_ns = wall_ns();
    int rc = connect(c->fd, (struct sockaddr *)&load->address, sizeof load->address);
    die_if(rc < 0 && errno != EINPROGRESS, "connect");
    watch(load, c, EPOLL_CTL_ADD, 1); /* the first writable event starts the first message */
}

/* Resets instead of closing in order: a client's port is free again at once. */
static void reset_connection(struct connection *c)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(c->fd);
}

static void send_rest(struct load *load, struct connection *c)
{
    size_t size = load->options.size;
    while (c->sent < size) {
        ssize_t n = send(c->fd, load->message + c->sent, size - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            die_if(errno != EAGAIN && errno != EINTR, "send");
            if (errno == EINTR)
                continue;
            break;
        }
        c->sent += (size_t)n;
    }
    int want_write = c->sent < size;
    if (want_write != c->watches_write)
        watch(load, c, EPOLL_CTL_MOD, want_write);
}

static void next_message(struct load *load, struct connection *c, uint64_t now)
{
    if (load->options.churn) {
        reset_connection(c);
        open_connection(load, c);
        return;
    }
    c->sent = c->received = 0;
    c->started_ns = now;
    send_rest(load, c);
}

static void message_done(struct load *load, struct connection *c)
{
    uint64_t now = wall_ns();
    load->all_messages++;
    if (!c->answered) {
        c->answered = 1;
        load->answered++;
    }
    if (load->measuring) {
        load->messages++;
        hist_record(&load->latency, now - c->started_ns);
    }
    if (load->all_open)
        next_message(load, c, now);
}

static void receive(struct load *load, struct connection *c)
{
    size_t size = load->options.size;
    size_t room = size - c->received < RECV_BYTES ? size - c->received : RECV_BYTES;
    ssize_t n = recv(c->fd, load->buffer, room, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    die_if(n < 0, "recv");
    if (n == 0 || memcmp(load->buffer, load->message + c->received, (size_t)n) != 0) {
        fprintf(stderr, n == 0 ? "load: the server closed a connection\n" : "load: echoed bytes differ\n");
        exit(1);
    }
    c->received += (size_t)n;
    if (c->received == size)
        message_done(load, c);
}

static void run_for(struct load *load, double seconds)
{
    struct epoll_event events[MAX_EVENTS];
    uint64_t end = wall_ns() + (uint64_t)(seconds * 1e9);
    while (wall_ns() < end) {
        int n = epoll_wait(load->epoll, events, MAX_EVENTS, 100);
        die_if(n < 0 && errno != EINTR, "epoll_wait");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                send_rest(load, c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                receive(load, c);
        }
    }
}

/* A slice of them at a time, lest a listener's backlog overflows and the rest comes a second later. */
static void open_all(struct load *load)
{
    uint64_t end = wall_ns() + OPEN_SECONDS * 1000000000ull;
    for (int opened = 0; load->answered < load->options.connections;) {
        if (opened - load->answered < OPEN_AT_ONCE / 2) {
            for (int n = 0; n < OPEN_AT_ONCE / 2 && opened < load->options.connections; n++, opened++)
                open_connection(load, &load->connections[opened]);
        }
        run_for(load, 0.002);
        if (wall_ns() > end) {
            fprintf(stderr, "load: %d of %d connections had no answer within %d s\n",
                    load->options.connections - load->answered, load->options.connections, OPEN_SECONDS);
            exit(1);
        }
    }
    load->all_open = 1;
    for (int i = 0; i < load->options.connections; i++)
        next_message(load, &load->connections[i], wall_ns());
}

/* The soft limit on descriptors is often a thousand; the hard one is ours to use. */
static void more_descriptors(void)
{
    struct rlimit limit;
    die_if(getrlimit(RLIMIT_NOFILE, &limit) < 0, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    die_if(setrlimit(RLIMIT_NOFILE, &limit) < 0, "setrlimit");
}

static double resident_bytes(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *file = fopen(path, "r");
    die_if(!file, path);
    unsigned long pages = 0;
    int read = fscanf(file, "%*u %lu", &pages);
    fclose(file);
    die_if(read != 1, path);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static struct options parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},    {"pid", required_argument, NULL, 'i'},
        {"size", required_argument, NULL, 's'},    {"connections", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 't'}, {"warmup", required_argument, NULL, 'w'},
        {"churn", no_argument, NULL, 'x'},         {NULL, 0, NULL, 0},
    };
    struct options o = {.connections = 1, .size = 64, .seconds = 1, .warmup = 0.2};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (c) {
        case 'p': o.port = atoi(optarg); break;
        case 'i': o.pid = atoi(optarg); break;
        case 's': o.size = strtoul(optarg, NULL, 10); break;
        case 'c': o.connections = atoi(optarg); break;
        case 't': o.seconds = atof(optarg); break;
        case 'w': o.warmup = atof(optarg); break;
        case 'x': o.churn = 1; break;
        default: exit(2);
        }
    }
    if (o.port <= 0 || o.pid <= 0 || o.size == 0 || o.connections <= 0) {
        fprintf(stderr, "usage: load --port P --pid PID [--connections N] [--size BYTES] [--seconds S] "
                        "[--warmup S] [--churn]\n");
        exit(2);
    }
    return o;
}

int main(int argc, char **argv)
{
    static struct load load;
    load.options = parse(argc, argv);
    load.address = (struct sockaddr_in){.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)load.options.port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    die_if(load.epoll < 0, "epoll_create1");
    load.connections = calloc((size_t)load.options.connections, sizeof *load.connections);
    load.message = malloc(load.options.size);
    load.buffer = malloc(RECV_BYTES);
    die_if(!load.connections || !load.message || !load.buffer, "malloc");
    for (size_t i = 0; i < load.options.size; i++)
        load.message[i] = (char)(i * 131 + (i >> 8));
    more_descriptors();
    double rss_before = resident_bytes(load.options.pid);
    open_all(&load);

    run_for(&load, load.options.warmup);
    struct cpu_account before = cpu_account(load.options.pid);
    uint64_t started = wall_ns();
    load.measuring = 1;
    run_for(&load, load.options.seconds);
    double seconds = (double)(wall_ns() - started) / 1e9;
    struct cpu_account after = cpu_account(load.options.pid);
    if (load.messages == 0) {
        fprintf(stderr, "load: no message came back in %.1f s\n", seconds);
        return 1;
    }

    double messages = (double)load.messages;
    double rss = resident_bytes(load.options.pid) - rss_before;
    report("cpu_per_message", (double)(after.all - before.all) / 1e3 / messages, "us");
    report("main_thread_cpu_per_message",
           (double)(after.main_thread - before.main_thread) / 1e3 / messages, "us");
    report("messages_per_s", messages / seconds, "1/s");
    report("all_messages", (double)load.all_messages, "messages");
    report("rss_per_connection", rss / load.options.connections, "bytes");
    report("p50", hist_percentile(&load.latency, 0.50) / 1e3, "us");
    report("p99", hist_percentile(&load.latency, 0.99) / 1e3, "us");
    return 0;
}
