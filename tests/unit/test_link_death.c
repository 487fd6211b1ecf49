// SPDX-License-Identifier: Apache-2.0
/* A link is killed in its process again and again; this process is the server, keeps the
 * descriptor like a service manager does, and reads the spool like a worker does. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "component/cursor.h"
#include "component/link.h"
#include "component/opts.h"
#include "component/spool.h"
#include "tests/unit/spool_dir.h"

#define HEADER                                                                                \
    "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' "    \
    "xmlns='jabber:component:accept' from='sidecar.e.test' id='s1'>"
#define ROUNDS 60
#define SEGMENT_BYTES ((uint64_t)256 * 1024)
#define READS_AT_ONCE 16
#define AHEAD_MAX (64 * 1024)
#define STUCK_BYTES ((size_t)256 * 1024)
#define MIB ((size_t)1024 * 1024)

static struct temp_dir dir;
static char page_path[96];
static struct host_opts host = {.host = "127.0.0.1"};
static struct component_opts opts = {
    .hosts = &host, .hosts_n = 1, .component = "sidecar.e.test", .secret = "secret"};
static struct spool_opts spool_opts = {.size_max = 64 * MIB, .fsync_ms = 1000};
static const struct link_timing timing = {.connect_ms = 2000,
                                          .closing_ms = 5000,
                                          .keepalive_ms = 1, /* white space is output, too */
                                          .retry_min_ms = 1,
                                          .retry_max_ms = 2,
                                          .slow_min_ms = 60000,
                                          .slow_max_ms = 60000,
                                          .settled_ms = 60000};

/* The process that is killed. */

static struct {
    struct event_base *base;
    struct page *page;
    struct link *link;
    int manager;
    unsigned frame_bytes;
    size_t queue_max;
    int send_buffer; /* 0: the kernel's choice */
    bool quiet;
    struct {
        atomic_uint turns;    /* that it had while the stream was up */
        atomic_size_t queued; /* output that the kernel did not take */
    } * tells;                /* shared memory */
} child;

static void tell_manager(char what, int fd)
{
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec iov = {.iov_base = &what, .iov_len = 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = control.room;
        m.msg_controllen = sizeof control.room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    if (sendmsg(child.manager, &m, 0) != 1)
        _exit(3);
}

static void on_keep(void *ctx, unsigned link, int fd, uint64_t epoch)
{
    (void)ctx;
    (void)link;
    (void)epoch;
    if (child.send_buffer)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &child.send_buffer,
                         sizeof child.send_buffer);
    tell_manager('K', fd);
}

static void on_discard(void *ctx, unsigned link, uint64_t epoch)
{
    (void)ctx;
    (void)link;
    (void)epoch;
    tell_manager('D', -1);
}

/* The link's frames are numbered by its own count of them: a frame that it forgot or wrote
 * twice over a death breaks the server's row. */
static void on_write(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct page_link *p = &child.page->links[0];
    char frame[16384];
    for (int i = 0; i < 8 && !child.quiet && link_state(child.link) == LINK_UP; i++) {
        if (link_queued(child.link) > child.queue_max)
            break;
        uint64_t n = atomic_load(&p->frames_taken) + 1;
        int len = snprintf(frame, sizeof frame, "<f n='%llu'>%0*d</f>", (unsigned long long)n,
                           (int)child.frame_bytes, 0);
        (void)link_send(child.link, atomic_load(&p->epoch), (uint8_t *)frame, (size_t)len);
    }
    atomic_store(&child.tells->queued, link_queued(child.link));
    atomic_fetch_add(&child.tells->turns, link_state(child.link) == LINK_UP);
    event_add(ctx, (&(struct timeval){.tv_usec = 0}));
}

static void on_child_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    if (level != LOG_ERROR)
        return;
    (void)!write(STDERR_FILENO, line, strlen(line));
    _exit(4);
}

static void be_the_link(int kept, uint64_t release)
{
    struct page *before = NULL;
    struct spool *spool;
    struct event *writer;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_set_sink(on_child_log, NULL);
    child.base = event_base_new();
    struct spool_settings set = {.size_max = 64 * MIB, .segment_bytes = SEGMENT_BYTES};
    if (kept >= 0 && page_open(page_path, false, &before, NULL) != ERR_NONE)
        _exit(5);
    if (page_create_from(page_path, 1, before, &child.page, NULL) != ERR_NONE)
        _exit(6);
    if (kept >= 0)
        set.kept_to = atomic_load(&child.page->links[0].spool_end);
    if (spool_open(dir.spool, &set, &spool, NULL) != ERR_NONE)
        _exit(7);
    struct link_setup setup = {.base = child.base,
                               .opts = &opts,
                               .spool_opts = &spool_opts,
                               .spool = spool,
                               .page = &child.page->links[0],
                               .timing = &timing};
    struct link_events ev = {.keep = on_keep, .discard = on_discard};
    if (link_new(&setup, &ev, &child.link, NULL) != ERR_NONE)
        _exit(8);
    if (kept < 0 || !link_resume(child.link, kept, NULL))
        link_start(child.link);
    link_release(child.link, release);
    writer = evtimer_new(child.base, on_write, event_self_cbarg());
    evtimer_add(writer, (&(struct timeval){.tv_usec = 0}));
    event_base_dispatch(child.base);
    _exit(9);
}

static int manager[2];
static int kept = -1; /* the link's descriptor, -1: none */

/* The server. */

static struct {
    int listener;
    int fd; /* -1: no connection */
    unsigned connections;
    struct buf in;
    struct buf out;
    bool shaken;
    bool slow;         /* in reading */
    uint64_t frames;   /* the number that the last one had */
    uint64_t first;    /* that has not to follow the one before */
    uint64_t stanzas;  /* begun: put into out */
    uint64_t cut_from; /* of the connection: the first stanza in out */
    size_t out_start;
} server;

static void put_stanza(void)
{
    static char padding[100 * 1024];
    size_t len = (size_t)random() % 400;
    if (random() % 50 == 0)
        len = (size_t)random() % sizeof padding;
    memset(padding, 'x', sizeof padding);
    server.stanzas++;
    buf_addf(&server.out, "<m i='%llu'>%.*s</m>", (unsigned long long)server.stanzas, (int)len,
             padding);
}

/* Takes the frames that are whole. */
static void read_frames(void)
{
    for (;;) {
        const char *at = (const char *)buf_data(&server.in);
        size_t len = buf_len(&server.in), space = 0;
        while (space < len && at[space] == ' ')
            space++;
        buf_consume(&server.in, space);
        at = (const char *)buf_data(&server.in);
        len -= space;
        const char *end = len ? memmem(at, len, "</f>", 4) : NULL;
        if (!end)
            return;
        if (len < 6 || memcmp(at, "<f n='", 6) != 0)
            fail_msg("the output is broken: %.40s", at);
        uint64_t n = strtoull(at + 6, NULL, 10);
        if (server.first)
            assert_true(n > server.frames);
        else
            assert_int_equal(n, server.frames + 1);
        server.first = 0;
        server.frames = n;
        buf_consume(&server.in, (size_t)(end - at) + 4);
    }
}

static void hang_up(void)
{
    close(server.fd);
    server.fd = -1;
    server.shaken = false;
    buf_reset(&server.in);
    buf_reset(&server.out);
}

static void server_read(void)
{
    uint8_t chunk[65536];
    /* Slower than any link writes, until it is stuck. */
    bool trickle = server.slow && atomic_load(&child.tells->queued) < 2 * STUCK_BYTES;
    size_t size = trickle ? 64 : sizeof chunk;
    for (int i = 0; i < (server.slow ? 1 : READS_AT_ONCE) && server.fd >= 0; i++) {
        ssize_t n = recv(server.fd, chunk, size, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            /* Its last stanza may be half sent: that one is begun anew. */
            if (server.shaken && buf_len(&server.out) > 0)
                server.stanzas = server.cut_from - 1;
            hang_up();
            return;
        }
        buf_add(&server.in, chunk, (size_t)n);
        if (!server.shaken) {
            const char *at = buf_cstr(&server.in), *end = strstr(at, "</handshake>");
            if (!end)
                continue;
            buf_consume(&server.in, (size_t)(end - at) + strlen("</handshake>"));
            server.shaken = true;
            buf_add_str(&server.out, "<handshake/>");
        }
        read_frames();
    }
}

/* More than this in the kernel shows nothing new. */
static bool is_ahead(void)
{
    int waiting = 0;
    return kept >= 0 && ioctl(kept, FIONREAD, &waiting) == 0 && waiting > AHEAD_MAX;
}

static void server_write(void)
{
    /* One stanza at a time is begun, so that it is known which one is cut. */
    if (server.shaken && kept >= 0 && buf_len(&server.out) == 0) {
        server.cut_from = server.stanzas + 1;
        put_stanza();
    }
    size_t len = buf_len(&server.out), part = (size_t)random() % 5000 + 1;
    if (server.fd < 0 || len == 0)
        return;
    ssize_t n = send(server.fd, buf_data(&server.out), part < len ? part : len,
                     MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        buf_consume(&server.out, (size_t)n);
}

static void server_accept(void)
{
    int fd = accept(server.listener, NULL, NULL);
    if (fd < 0)
        return;
    assert_true(server.fd < 0); /* never two at once */
    server.fd = fd;
    server.connections++;
    server.first = 1;
    buf_add_str(&server.out, HEADER);
}

static void server_turn(int timeout_ms)
{
    bool ahead = is_ahead();
    short events = (short)(POLLIN | (ahead ? 0 : POLLOUT));
    struct pollfd p[2] = {{.fd = server.listener, .events = POLLIN},
                          {.fd = server.fd, .events = events}};
    (void)poll(p, 2, timeout_ms);
    server_read();
    if (!ahead)
        server_write();
    if (server.fd < 0)
        server_accept();
}

/* The service manager. */

static void drop_kept(void)
{
    if (kept >= 0)
        close(kept);
    kept = -1;
}

static void manager_turn(void)
{
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char what;
    for (;;) {
        struct iovec iov = {.iov_base = &what, .iov_len = 1};
        struct msghdr m = {.msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = control.room,
                           .msg_controllen = sizeof control.room};
        if (recvmsg(manager[0], &m, MSG_DONTWAIT) != 1)
            return;
        drop_kept();
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        if (what == 'K' && c)
            memcpy(&kept, CMSG_DATA(c), sizeof kept);
    }
}

/* The reader. */

static struct {
    struct cursor *cursor;
    uint64_t stanzas;
    uint64_t end;
    unsigned opened, closed;
} reader;

static void on_stanza(void *ctx, struct stanza *s, const struct place *p, int64_t us,
                      uint64_t epoch)
{
    (void)ctx;
    (void)us;
    (void)epoch;
    assert_int_equal(strtoull(stanza_get(s, "i"), NULL, 10), reader.stanzas + 1);
    assert_true(p->begin >= reader.end && p->end > p->begin);
    reader.end = p->end;
    reader.stanzas++;
    stanza_free(&s);
}

static void on_opened(void *ctx, const struct cursor_opened *o)
{
    (void)ctx;
    reader.opened += !o->resumed;
}

static void on_closed(void *ctx, const struct cursor_closed *o)
{
    (void)ctx;
    (void)o;
    reader.closed++;
}

static void on_lost(void *ctx, uint64_t epoch, uint64_t begin, uint64_t end, bool streaming,
                    const char *why)
{
    (void)ctx;
    (void)epoch;
    (void)streaming;
    fail_msg("%s: %llu to %llu", why, (unsigned long long)begin, (unsigned long long)end);
}

static void read_spool(void)
{
    struct page *page;
    if (page_open(page_path, false, &page, NULL) != ERR_NONE)
        return; /* killed before there was one */
    uint64_t end = atomic_load(&page->links[0].spool_end);
    page_close(&page);
    const struct cursor_events ev = {
        .stanza = on_stanza, .opened = on_opened, .closed = on_closed, .lost = on_lost};
    /* Now the same worker reads on, now the next one. */
    uint64_t position = reader.cursor ? cursor_position(reader.cursor) : 0;
    if (reader.cursor && random() % 3 == 0)
        cursor_free(&reader.cursor);
    if (!reader.cursor)
        reader.cursor = cursor_new(dir.spool, 0, position, NULL, &ev);
    while (cursor_pump(reader.cursor, end, MIB))
        continue;
}

/* Together. */

static pid_t start_child(void)
{
    uint64_t position = reader.cursor ? cursor_position(reader.cursor) : 0;
    pid_t pid = fork();
    if (pid == 0)
        be_the_link(kept, position > 0 ? position - 1 : 0); /* like a worker releases */
    assert_true(pid > 0);
    return pid;
}

static void kill_child(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    manager_turn();
}

/* Some die while they start, some in the middle of their work, and some when the kernel takes
 * their output piece by piece because the server reads slowly. */
static void one_life(bool stuck)
{
    unsigned turns = random() % 2 ? (unsigned)random() % 40 : 0;
    int64_t start = clock_mono_ms(), until = start + random() % 10;
    int pieces = 10; /* that are read before the kill */
    bool more;
    server.slow = stuck;
    atomic_store(&child.tells->turns, 0);
    atomic_store(&child.tells->queued, 0);
    pid_t pid = start_child();
    do {
        server_turn(1);
        manager_turn();
        assert_true(clock_mono_ms() < start + 60000);
        if (stuck)
            more = atomic_load(&child.tells->queued) < 2 * STUCK_BYTES || pieces-- > 0;
        else if (turns)
            more = atomic_load(&child.tells->turns) < turns;
        else
            more = clock_mono_ms() < until;
    } while (more);
    kill_child(pid);
    read_spool();
    if (kept < 0 && server.fd >= 0) {
        /* Killed before anybody could keep the connection: what was sent on it is lost. */
        server.stanzas = reader.stanzas;
        hang_up();
    }
}

/* All that was begun is ended, and has come: the server stops, the link goes on. */
static void finish(void)
{
    server.slow = false;
    child.quiet = true;
    int64_t until = clock_mono_ms() + 60000;
    pid_t pid = start_child();
    while (!server.shaken || buf_len(&server.out) > 0 || reader.stanzas < server.stanzas) {
        assert_true(clock_mono_ms() < until);
        manager_turn();
        if (server.shaken && buf_len(&server.out) == 0) {
            struct pollfd p = {.fd = server.fd, .events = POLLIN};
            (void)poll(&p, 1, 1);
            server_read();
            read_spool();
        } else {
            server_turn(1);
        }
    }
    kill_child(pid);
    read_spool();
    assert_int_equal(reader.stanzas, server.stanzas);
}

static unsigned rounds(void)
{
    const char *text = getenv("LINK_DEATH_ROUNDS");
    return text ? (unsigned)strtoul(text, NULL, 10) : ROUNDS;
}

static int setup(void **state)
{
    (void)state;
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    const char *text = getenv("LINK_DEATH_SEED");
    unsigned seed = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)clock_real_us();
    print_message("LINK_DEATH_SEED=%u\n", seed);
    srandom(seed);
    temp_dir_make(&dir);
    snprintf(page_path, sizeof page_path, "%s/page", dir.path);
    spool_opts.directory = dir.path;
    memset(&server, 0, sizeof server);
    memset(&reader, 0, sizeof reader);
    memset(&child, 0, sizeof child);
    buf_init(&server.in, MIB);
    buf_init(&server.out, MIB);
    server.fd = -1;
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(server.listener, (struct sockaddr *)&addr, sizeof addr) != 0 ||
        listen(server.listener, 5) != 0 ||
        getsockname(server.listener, (struct sockaddr *)&addr, &len) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, manager) != 0)
        return -1;
    host.port = ntohs(addr.sin_port);
    child.tells = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (child.tells == MAP_FAILED)
        return -1;
    child.manager = manager[1];
    child.queue_max = 4096;
    child.frame_bytes = 20;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    munmap(child.tells, 4096);
    if (server.fd >= 0)
        close(server.fd);
    close(server.listener);
    close(manager[0]);
    close(manager[1]);
    drop_kept();
    cursor_free(&reader.cursor);
    buf_deinit(&server.in);
    buf_deinit(&server.out);
    temp_dir_drop(&dir);
    return 0;
}

/* The first connection, and the manager has it. */
static void come_up(void)
{
    int64_t until = clock_mono_ms() + 60000;
    pid_t pid = start_child();
    while (kept < 0) {
        assert_true(clock_mono_ms() < until);
        server_turn(1);
        manager_turn();
    }
    kill_child(pid);
    read_spool();
}

static void test_no_byte_is_lost_or_doubled_however_often_the_link_is_killed(void **state)
{
    (void)state;
    come_up();
    for (unsigned i = 0; i < rounds(); i++)
        one_life(false);
    finish();
    assert_int_equal(server.connections, 1);
    assert_int_equal(reader.opened, 1);
    assert_int_equal(reader.closed, 0);
    assert_true(server.frames > 0);
    print_message("stanzas=%llu frames=%llu\n", (unsigned long long)server.stanzas,
                  (unsigned long long)server.frames);
}

/* The server reads slowly, so that frames are cut where its buffer was full. */
static void test_a_stream_whose_output_was_cut_is_read_to_its_end_and_begun_anew(void **state)
{
    (void)state;
    int small = 256 * 1024; /* but several segments of loopback's size */
    child.frame_bytes = 10000;
    child.queue_max = 4 * STUCK_BYTES;
    child.send_buffer = small / 2;
    assert_int_equal(setsockopt(server.listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small),
                     0);
    come_up();
    /* Whether a death cuts a frame is chance. */
    for (unsigned i = 0; i < rounds() / 5 || (reader.opened < 3 && i < 200); i++)
        one_life(i % 2 == 0);
    finish();
    /* Each stream was read to its end before the next one came. */
    assert_true(reader.opened > 1 && reader.opened <= server.connections);
    assert_in_range(reader.closed, reader.opened - 1, reader.opened);
    print_message("stanzas=%llu frames=%llu connections=%u\n",
                  (unsigned long long)server.stanzas, (unsigned long long)server.frames,
                  server.connections);
}

/* The link is dead; the server sends whole stanzas and is gone, too. */
static void lose_the_server(bool reset)
{
    const struct linger at_once = {.l_onoff = 1};
    for (int i = 0; i < 20; i++) {
        server.stanzas++;
        buf_addf(&server.out, "<m i='%llu'/>", (unsigned long long)server.stanzas);
    }
    while (buf_len(&server.out) > 0)
        server_write();
    for (int left = 1, i = 0; left > 0; i++) { /* it reaches the link's kernel */
        assert_true(i < 5000 && ioctl(server.fd, SIOCOUTQ, &left) == 0);
        usleep(1000);
    }
    if (reset)
        assert_int_equal(
            setsockopt(server.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    server_read(); /* unread bytes would make it a reset anyway */
    hang_up();
}

static void test_what_the_server_sent_before_it_hung_up_on_a_dead_link_is_spooled(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        come_up();
        lose_the_server(i % 2);
        uint64_t sent = server.stanzas;
        int64_t until = clock_mono_ms() + 60000;
        pid_t pid = start_child();
        while (reader.stanzas < sent) {
            assert_true(clock_mono_ms() < until);
            usleep(1000); /* nobody accepts a new connection */
            read_spool();
        }
        kill_child(pid);
        drop_kept();
        server.frames = 0; /* nothing was kept: the next page begins anew */
        for (int fd; (fd = accept(server.listener, NULL, NULL)) >= 0;)
            close(fd);
    }
    assert_int_equal(reader.opened, 6);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        T(test_no_byte_is_lost_or_doubled_however_often_the_link_is_killed),
        T(test_what_the_server_sent_before_it_hung_up_on_a_dead_link_is_spooled),
        T(test_a_stream_whose_output_was_cut_is_read_to_its_end_and_begun_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
