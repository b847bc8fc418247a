/* An HTTP/1.1 file server on all cores: http_files DIR [--port N] [--workers N]
 *
 * It prints `listening 127.0.0.1:PORT`, and ends cleanly at SIGTERM or SIGINT.
 *
 * Each connection is a task: a poll function that goes as far as it can and says RT_PENDING when it
 * has to wait, for the peer, for a file or for time to pass. Files are opened and read by blocking
 * jobs, a piece at a time, so that a slow disk holds up nobody else and a large file needs no more
 * memory than a small one.
 *
 * GET and HEAD; keep-alive and pipelining. A Range is politely ignored: RFC 9110 (14.2) lets a
 * server answer with the whole, status 200, and `Accept-Ranges: none` says so beforehand; 416 would
 * be wrong, for the range may well exist. Paths may not leave DIR, by `..` or by a link (403). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_PATH, strcasestr */
#endif

#include <libruntime/runtime.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD_LIMIT = 16 * 1024, /* of a request's head; more is answered with 431 */
    PIECE = 64 * 1024       /* of a file, read by one job */
};

/* A connection on which nothing happens for so long is closed. */
#define IDLE_NS (60 * 1000000000ull)

struct server {
    rt_runtime *runtime;
    int root;
};

enum state { READ_HEAD, OPEN_FILE, SEND, READ_FILE };

/* A connection. The task owns it; a job that works for it holds it as well, for the task may be
 * cancelled while the job runs. */
struct connection {
    int references;
    struct server *server;
    rt_stream *stream;
    rt_sleep *idle;
    rt_task *job;
    enum state state;

    char request[HEAD_LIMIT + 1]; /* the head that is being read, and what came after it */
    size_t have, head_length;

    char path[HEAD_LIMIT];
    int keep_alive, head_only;

    int file;
    int open_error; /* errno */
    off_t size, offset;
    char *piece;
    size_t piece_length, piece_sent;

    char response[1024]; /* the head of the response */
    size_t response_length, response_sent;
};

static void connection_release(void *data) {
    struct connection *c = data;
    if (__atomic_sub_fetch(&c->references, 1, __ATOMIC_ACQ_REL) > 0) return;
    rt_stream_free(c->stream);
    rt_sleep_free(c->idle);
    rt_task_free(c->job);
    if (c->file >= 0) close(c->file);
    free(c->piece);
    free(c);
}

/* ---- files: these run as blocking jobs ---- */

static int is_below(int root, int fd) {
    char link[64], above[PATH_MAX], name[PATH_MAX];
    ssize_t length, longer;
    snprintf(link, sizeof link, "/proc/self/fd/%d", root);
    length = readlink(link, above, sizeof above - 1);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    longer = readlink(link, name, sizeof name - 1);
    if (length <= 0 || longer <= 0) return 0;
    if (above[length - 1] != '/') above[length++] = '/';
    name[longer++] = '/';
    return longer >= length && memcmp(above, name, (size_t)length) == 0;
}

/* Opens a path below the root, whatever links there are. */
static int open_below(int root, const char *path) {
    struct open_how how;
    int fd;
    memset(&how, 0, sizeof how);
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    if (fd >= 0 || errno != ENOSYS) return fd;
    /* Before Linux 5.6: opens it, and looks where that has led. */
    fd = openat(root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && !is_below(root, fd)) {
        close(fd);
        errno = EXDEV;
        return -1;
    }
    return fd;
}

/* Reads the next piece of the file. */
static int read_piece(void *data, rt_result *result) {
    struct connection *c = data;
    off_t left = c->size - c->offset;
    size_t wanted = left < PIECE ? (size_t)left : PIECE;
    ssize_t n;
    (void)result;
    do {
        n = pread(c->file, c->piece, wanted, c->offset);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return -errno;
    if (n == 0) return RT_EOF; /* the file has become shorter */
    c->piece_length = (size_t)n;
    c->piece_sent = 0;
    c->offset += n;
    return RT_OK;
}

static int open_file(void *data, rt_result *result) {
    struct connection *c = data;
    struct stat about;
    c->open_error = 0;
    c->file = open_below(c->server->root, c->path);
    if (c->file < 0 || fstat(c->file, &about) != 0) {
        c->open_error = errno;
        return RT_OK;
    }
    if (!S_ISREG(about.st_mode)) {
        c->open_error = EISDIR;
        return RT_OK;
    }
    c->size = about.st_size;
    c->offset = 0;
    c->piece_length = c->piece_sent = 0;
    if (c->head_only || c->size == 0) return RT_OK;
    c->piece = malloc(PIECE);
    return c->piece == NULL ? RT_ENOMEM : read_piece(c, result);
}

static int start_job(struct connection *c, rt_work_fn work, enum state state) {
    c->state = state;
    __atomic_add_fetch(&c->references, 1, __ATOMIC_RELAXED);
    return rt_spawn_blocking(c->server->runtime, work, c, connection_release, NULL, &c->job);
}

/* ---- responses ---- */

static const char *reason(int status) {
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    default: return "HTTP Version Not Supported";
    }
}

static const char *type_of(const char *path) {
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
            {".css", "text/css; charset=utf-8"}, {".js", "text/javascript; charset=utf-8"},
            {".json", "application/json"}, {".md", "text/markdown; charset=utf-8"},
            {".txt", "text/plain; charset=utf-8"}, {".c", "text/plain; charset=utf-8"},
            {".h", "text/plain; charset=utf-8"}, {".rs", "text/plain; charset=utf-8"},
            {".py", "text/plain; charset=utf-8"}, {".svg", "image/svg+xml"}, {".png", "image/png"}};
    const char *dot = strrchr(path, '.');
    size_t i;
    for (i = 0; dot != NULL && i < sizeof types / sizeof *types; i++)
        if (strcasecmp(dot, types[i][0]) == 0) return types[i][1];
    return "application/octet-stream";
}

static void respond(struct connection *c, int status, off_t length, const char *more) {
    char date[64] = "";
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) != NULL)
        strftime(date, sizeof date, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
    c->response_length = (size_t)snprintf(c->response, sizeof c->response,
            "HTTP/1.1 %d %s\r\n%sContent-Length: %lld\r\n%s%s\r\n", status, reason(status), date,
            (long long)length, more, c->keep_alive ? "" : "Connection: close\r\n");
    c->response_sent = 0;
    c->state = SEND;
}

/* A response without a file. What follows a request that was not understood is not understood
 * either: the connection ends with it. */
static void respond_error(struct connection *c, int status, int last) {
    if (last) c->keep_alive = 0;
    if (c->file >= 0) close(c->file);
    c->file = -1;
    free(c->piece);
    c->piece = NULL;
    c->piece_length = c->piece_sent = 0;
    c->size = c->offset = 0;
    respond(c, status, 0, status == 405 ? "Allow: GET, HEAD\r\n" : "");
}

static void respond_file(struct connection *c) {
    char more[128];
    switch (c->open_error) {
    case 0: break;
    case ENOENT: case ENOTDIR: case ENAMETOOLONG: case EISDIR: case ENXIO:
        respond_error(c, 404, 0);
        return;
    case EACCES: case EPERM: case EXDEV: case ELOOP:
        respond_error(c, 403, 0);
        return;
    default:
        respond_error(c, 500, 0);
        return;
    }
    snprintf(more, sizeof more, "Content-Type: %s\r\nAccept-Ranges: none\r\n", type_of(c->path));
    respond(c, 200, c->size, more);
}

/* ---- requests ---- */

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes the path of a request target into `path`, relative to the root: 0, or a status. */
static int decode_path(const char *target, char *path) {
    char *out = path, *segment;
    if (strncasecmp(target, "http://", 7) == 0) { /* the absolute form, which a proxy sends */
        target = strchr(target + 7, '/');
        if (target == NULL) target = "/";
    }
    if (*target != '/') return 400;
    for (; *target != 0 && *target != '?' && *target != '#'; target++) {
        int c = (unsigned char)*target;
        if (c == '%') {
            int high = hex(target[1]), low = high < 0 ? -1 : hex(target[2]);
            if (low < 0) return 400;
            c = high << 4 | low;
            target += 2;
        }
        if (c == 0) return 400;
        *out++ = (char)c;
    }
    *out = 0;
    for (segment = path; segment != NULL; segment = strchr(segment, '/')) {
        while (*segment == '/') segment++;
        if (strncmp(segment, "..", 2) == 0 && (segment[2] == '/' || segment[2] == 0)) return 403;
    }
    segment = path;
    while (*segment == '/') segment++;
    memmove(path, segment, strlen(segment) + 1);
    if (*path == 0) strcpy(path, ".");
    return 0;
}

/* Takes the head at the start of `request` apart, which ends in a NUL: 0, or a status. */
static int parse_head(struct connection *c, int *last) {
    char *line = c->request, *end = strstr(line, "\r\n"), *target, *version, *next;
    int old, hosts = 0;
    *last = 1;
    c->keep_alive = 0;
    c->head_only = 0;
    *end = 0;
    target = strchr(line, ' ');
    version = target == NULL ? NULL : strchr(target + 1, ' ');
    if (version == NULL || target == line || strchr(version + 1, ' ') != NULL) return 400;
    *target++ = 0;
    *version++ = 0;
    if (strncmp(version, "HTTP/", 5) != 0) return 400;
    old = strcmp(version, "HTTP/1.0") == 0;
    if (!old && strcmp(version, "HTTP/1.1") != 0) return 505;
    c->keep_alive = !old;
    for (line = end + 2; *line != '\r'; line = next) {
        char *colon, *value, *stop;
        end = strstr(line, "\r\n");
        next = end + 2;
        *end = 0;
        colon = strchr(line, ':');
        if (colon == NULL || colon == line) return 400;
        *colon = 0;
        if (strpbrk(line, " \t") != NULL) return 400;
        for (value = colon + 1; *value == ' ' || *value == '\t'; value++) continue;
        for (stop = end; stop > value && (stop[-1] == ' ' || stop[-1] == '\t'); stop--) continue;
        *stop = 0;
        if (strpbrk(value, "\r\n") != NULL) return 400;
        if (strcasecmp(line, "host") == 0) hosts++;
        if (strcasecmp(line, "connection") == 0) {
            if (strcasestr(value, "close") != NULL) c->keep_alive = 0;
            else if (old && strcasestr(value, "keep-alive") != NULL) c->keep_alive = 1;
        }
        /* A body that comes with the request is not read: it would be taken for a request. */
        if (strcasecmp(line, "transfer-encoding") == 0) return 501;
        if (strcasecmp(line, "content-length") == 0 && strcmp(value, "0") != 0) c->keep_alive = 0;
    }
    if (hosts > 1 || (hosts == 0 && !old)) return 400;
    *last = 0;
    c->head_only = strcmp(c->request, "HEAD") == 0;
    if (!c->head_only && strcmp(c->request, "GET") != 0) return 405;
    return decode_path(target, c->path);
}

/* ---- the task ---- */

/* Reads until there is a whole head: RT_OK, RT_PENDING, or the end. */
static int poll_head(struct connection *c, rt_context *cx) {
    char *end;
    size_t n;
    int status, last;
    for (;;) {
        c->request[c->have] = 0;
        /* Empty lines before a request are skipped (RFC 9112, 2.2). */
        while (c->have >= 2 && memcmp(c->request, "\r\n", 2) == 0)
            memmove(c->request, c->request + 2, (c->have -= 2) + 1);
        end = strstr(c->request, "\r\n\r\n");
        if (end != NULL) break;
        if (c->have == HEAD_LIMIT || strlen(c->request) != c->have) {
            /* Too long, or with a NUL in it. */
            c->head_only = 0;
            respond_error(c, c->have == HEAD_LIMIT ? 431 : 400, 1);
            c->head_length = c->have;
            return RT_OK;
        }
        status = rt_stream_poll_read(c->stream, cx, c->request + c->have, HEAD_LIMIT - c->have, &n);
        if (status != RT_OK) return status;
        c->have += n;
        rt_sleep_reset(c->idle, IDLE_NS);
    }
    c->head_length = (size_t)(end - c->request) + 4;
    status = parse_head(c, &last);
    if (status != 0) {
        respond_error(c, status, last);
        return RT_OK;
    }
    return start_job(c, open_file, OPEN_FILE);
}

/* Waits for the job: RT_OK, RT_PENDING, or what went wrong. */
static int poll_job(struct connection *c, rt_context *cx) {
    rt_result result;
    int status = rt_task_poll(c->job, cx, &result);
    if (status != RT_OK) return status;
    rt_task_free(c->job);
    c->job = NULL;
    return result.status;
}

/* Sends the head and the piece that is there, together. */
static int poll_send(struct connection *c, rt_context *cx) {
    for (;;) {
        rt_buf bufs[2];
        size_t count = 0, head = c->response_length - c->response_sent, n;
        size_t piece = c->piece_length - c->piece_sent;
        int status;
        if (head > 0) {
            bufs[count].base = c->response + c->response_sent;
            bufs[count++].len = head;
        }
        if (piece > 0) {
            bufs[count].base = c->piece + c->piece_sent;
            bufs[count++].len = piece;
        }
        if (count == 0) return RT_OK;
        status = rt_stream_poll_writev(c->stream, cx, bufs, count, &n);
        if (status != RT_OK) return status;
        rt_sleep_reset(c->idle, IDLE_NS);
        c->response_sent += n < head ? n : head;
        c->piece_sent += n < head ? 0 : n - head;
    }
}

/* The response is sent: on to the next request, or to the end. */
static int next_request(struct connection *c) {
    if (c->file >= 0) close(c->file);
    c->file = -1;
    free(c->piece);
    c->piece = NULL;
    c->piece_length = c->piece_sent = c->response_length = c->response_sent = 0;
    if (!c->keep_alive) return RT_EOF;
    c->have -= c->head_length;
    memmove(c->request, c->request + c->head_length, c->have);
    c->state = READ_HEAD;
    return RT_OK;
}

static int serve(void *data, rt_context *cx, rt_result *result) {
    struct connection *c = data;
    int status = RT_OK;
    (void)result;
    while (status == RT_OK) {
        switch (c->state) {
        case READ_HEAD: status = poll_head(c, cx); break;
        case OPEN_FILE:
            status = poll_job(c, cx);
            if (status == RT_OK) respond_file(c);
            break;
        case READ_FILE:
            status = poll_job(c, cx);
            if (status == RT_OK) c->state = SEND;
            break;
        case SEND:
            status = poll_send(c, cx);
            if (status != RT_OK) break;
            if (!c->head_only && c->offset < c->size) status = start_job(c, read_piece, READ_FILE);
            else status = next_request(c);
            break;
        }
    }
    /* While it waits, for whatever it is, the clock runs as well. */
    if (status == RT_PENDING && rt_sleep_poll(c->idle, cx) == RT_OK) return RT_ETIMEDOUT;
    if (status != RT_PENDING) rt_stream_shutdown(c->stream, NULL, NULL, NULL);
    return status;
}

static void accepted(void *data, const rt_result *result) {
    struct server *server = data;
    struct connection *c;
    if (result->status != RT_OK) {
        /* Out of descriptors, for example. The listener goes on by itself. */
        fprintf(stderr, "http_files: accept: %s\n", rt_strerror(result->status));
        return;
    }
    c = calloc(1, sizeof *c);
    if (c == NULL || rt_sleep_new(IDLE_NS, &c->idle) != RT_OK) {
        free(c);
        rt_stream_free(result->ptr);
        return;
    }
    c->references = 1;
    c->server = server;
    c->stream = result->ptr;
    c->file = -1;
    c->state = READ_HEAD;
    rt_stream_set_nodelay(c->stream, 1);
    rt_spawn(server->runtime, serve, c, connection_release, NULL, NULL);
}

static int usage(void) {
    fputs("usage: http_files DIR [--port N] [--workers N]\n", stderr);
    return 2;
}

int main(int argc, char **argv) {
    rt_runtime_options options = RT_RUNTIME_OPTIONS_INIT;
    struct server server = {NULL, -1};
    rt_listener *listener = NULL;
    const char *directory = NULL;
    uint16_t port = 0;
    sigset_t ending;
    int i, status, number;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--port") == 0 && i + 1 < argc) port = (uint16_t)atoi(argv[++i]);
        else if (strcmp(argv[i], "--workers") == 0 && i + 1 < argc)
            options.worker_threads = (uint32_t)atoi(argv[++i]);
        else if (argv[i][0] != '-' && directory == NULL) directory = argv[i];
        else return usage();
    }
    if (directory == NULL) return usage();
    server.root = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (server.root < 0) {
        fprintf(stderr, "http_files: %s: %s\n", directory, strerror(errno));
        return 1;
    }
    /* The workers leave signals alone: this thread waits for those that end the program. */
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    sigprocmask(SIG_BLOCK, &ending, NULL);

    status = rt_runtime_new(&options, &server.runtime);
    if (status == RT_OK) status = rt_tcp_listen("127.0.0.1", port, NULL, &listener);
    if (status == RT_OK) status = rt_listener_local_addr(listener, NULL, 0, &port);
    if (status == RT_OK)
        status = rt_listener_start(listener, server.runtime, NULL, accepted, &server, NULL);
    if (status >= 0) {
        printf("listening 127.0.0.1:%u\n", (unsigned)port);
        fflush(stdout);
        sigwait(&ending, &number);
    } else {
        fprintf(stderr, "http_files: port %u: %s\n", (unsigned)port, rt_strerror(status));
    }
    rt_listener_free(listener);
    rt_runtime_free(server.runtime);
    close(server.root);
    return status < 0;
}
