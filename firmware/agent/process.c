/* Processes: what vmm has started, each with its streams. */
#include "agent.h"

enum { DRAIN_MS = 1000, PATH_MOST = 4096, STRINGS_MOST = 32768, PULLS_AT_ONCE = 4 };

struct process {
    u32 id;                         /* vmm's number for it; 0: this entry is free */
    int pid;
    int in, out, err;               /* -1: closed; with a terminal in and out are the same */
    int terminal, ended, status;
    int draining;                   /* of a terminal that ended: how long its last output is still waited for */
    u32 out_left, err_left;         /* of a process that ended: what is still in its pipes */
    u32 window, out_credit, err_credit;
    u32 first, used;                /* of the ring */
    u32 unreported;                 /* input that it has read and vmm does not know of */
    int in_ends;                    /* nothing comes behind what is in the ring */
    int wide_in, wide_out;          /* what widen() was called for; a terminal has no pipes */
    struct rusage usage;
    u8 ring[WINDOW_VSOCK];          /* input that it has not read */
};

static struct process processes[PROCESSES_MOST];
int first_process;

static void settle(struct process *process);

/* The process that is being described, before its start: one at a time. */
static u32 described;
static char strings[ARGUMENTS_MOST];
static usize strings_used, environment_at;
static char directory[PATH_MOST], user[256];

/* The child writes here why it could not start: shared between the two. */
static volatile u32 *verdicts;

static struct process *find_process(u32 id)
{
    for (usize i = 0; i < PROCESSES_MOST; i++)
        if (processes[i].id == id)
            return processes + i;
    return NULL;
}

static void send_u32(u32 process, enum frame_type type, u32 value)
{
    link_send(process, type, &value, sizeof value);
}

static void send_ended(const struct process *process, u32 how, u32 value)
{
    const struct rusage *usage = &process->usage;
    struct { u32 how, value; u64 user, system, resident; } exited = {
        how, value,
        (u64)usage->ru_utime.tv_sec * 1000000 + (u64)usage->ru_utime.tv_usec,
        (u64)usage->ru_stime.tv_sec * 1000000 + (u64)usage->ru_stime.tv_usec,
        (u64)usage->ru_maxrss,
    };
    link_send(process->id, FRAME_EXITED, &exited, sizeof exited);
}

/* Cuts strings that end in 0 into an array that ends in NULL. */
static void split(char *at, const char *end, char **array, usize most)
{
    usize count = 0;
    while (at < end && count < most - 1) {
        array[count++] = at;
        at += strlen(at) + 1;
    }
    array[count] = NULL;
}

static char *environment_value(char **environment, const char *name)
{
    usize length = strlen(name);
    for (; *environment != NULL; environment++)
        if (memcmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

/* As execvp(3) does it; returns -errno. A script without #! is the shell's, as there. */
static long execute(char **arguments, char **environment, int applets)
{
    static char path[PATH_MOST];
    static char *shell[STRINGS_MOST];
    const char *end = path + sizeof path - 1;
    const char *directories = environment_value(environment, "PATH");
    long error = -ENOENT, denied = 0;
    int has_slash = find(arguments[0], '/', strlen(arguments[0])) != NULL;
    if (*arguments[0] == 0)
        return -ENOENT;
    if (directories == NULL)
        directories = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (const char *next = has_slash ? "" : directories; next != NULL;) {
        const char *colon = find(next, ':', strlen(next));
        usize length = colon != NULL ? (usize)(colon - next) : strlen(next);
        char *at = path;
        if (length < sizeof path / 2) {
            memcpy(path, next, length);
            at += length;
        }
        if (length != 0)
            at = append(at, end, "/");
        *append(at, end, arguments[0]) = 0;
        error = CALL(execve, path, arguments, environment);
        if (error == -ENOEXEC) {
            usize count = 1;
            shell[0] = "/bin/sh";
            shell[1] = path;
            for (; arguments[count] != NULL && count < STRINGS_MOST - 2; count++)
                shell[count + 1] = arguments[count];
            shell[count + 1] = NULL;
            return CALL(execve, "/bin/sh", shell, environment);
        }
        if (error == -EACCES)
            denied = error;
        else if (error != -ENOENT && error != -ENOTDIR)
            return error;
        next = colon != NULL ? colon + 1 : NULL;
    }
    if (applets && denied == 0 && !has_slash)
        CALL(execve, "/bin/busybox", arguments, environment);
    return denied != 0 ? denied : error;
}

static _Noreturn void give_up(usize slot, enum ending how, long error)
{
    verdicts[2 * slot + 1] = (u32)-error;
    verdicts[2 * slot] = how;
    for (;;)
        CALL(exit_group, 127);
}

/* The child's side. `fds`: what become its standard streams, or the terminal alone. */
static _Noreturn void run_child(usize slot, const int *fds, u32 flags)
{
    static char *arguments[STRINGS_MOST], *environment[STRINGS_MOST];
    static char home[PATH_MOST] = "HOME=";
    struct sigaction standard = { .sa_handler = SIG_DFL };
    u64 none = 0;
    long error;
    CALL(setsid);
    if (flags & START_TERMINAL) {
        CALL(ioctl, fds[0], TIOCSCTTY, 0);
        for (int i = 0; i < 3; i++)
            CALL(dup2, fds[0], i);
    } else {
        for (int i = 0; i < 3; i++)
            CALL(dup2, fds[i], i);
    }
    split(strings, strings + environment_at, arguments, STRINGS_MOST);
    split(strings + environment_at, strings + strings_used, environment, STRINGS_MOST - 1);
    if (*user != 0) {
        error = become_user(user, home + 5, sizeof home - 5);
        if (error != 0)
            give_up(slot, ENDED_USER, error);
    }
    if (environment_value(environment, "HOME") == NULL) {
        usize count = 0;
        while (environment[count] != NULL)
            count++;
        if (home[5] == 0)
            append(home + 5, home + sizeof home - 1, *user == 0 && CALL(access, "/root", 0) == 0 ? "/root" : "/");
        environment[count] = home;
        environment[count + 1] = NULL;
    }
    if (*directory != 0) {
        error = CALL(chdir, directory);
        if (error != 0)
            give_up(slot, ENDED_DIRECTORY, error);
    }
    if (arguments[0] == NULL)
        give_up(slot, ENDED_EXEC, -ENOENT);
    /* Process 1 ignores nothing. Who started the agent elsewhere may have had signals ignored: a shell does that with
       SIGINT and SIGQUIT for what it starts in the background, and Ctrl-C would then be without effect. */
    for (int signal = 1; !is_init && signal < SIGRTMIN; signal++)
        CALL(rt_sigaction, signal, &standard, 0, sizeof none);
    CALL(rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof none);
    give_up(slot, ENDED_EXEC, execute(arguments, environment, (flags & START_APPLETS) != 0));
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        CALL(close, *fd);
    *fd = -1;
}

/* The two sides of a terminal: `ends[0]` is the agent's. */
static long make_terminal(int *ends, u16 rows, u16 columns)
{
    int unlock = 0;
    struct winsize size = { .ws_row = rows, .ws_col = columns };
    long error = ends[0] = (int)CALL(open, "/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (error >= 0)
        error = CALL(ioctl, ends[0], TIOCSPTLCK, &unlock);
    if (error >= 0)
        error = ends[1] = (int)CALL(ioctl, ends[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (error >= 0)
        CALL(ioctl, ends[0], TIOCSWINSZ, &size);
    return error;
}

/* Pipes by stream, [0] to read from and [1] to write to. */
static long make_pipes(int pipes[3][2])
{
    long error = 0;
    for (int i = 0; i < 3 && error == 0; i++)
        error = CALL(pipe2, pipes[i], O_CLOEXEC);
    return error;
}

/* Once a stream has carried much: makes its pipe as large as a window, for fewer switches between the agent and the process, and
   the agent's end non-blocking. Where the kernel refuses the size the pipe keeps its own. */
static void widen(int fd, int mode)
{
    CALL(fcntl, fd, F_SETFL, mode | O_NONBLOCK);
    CALL(fcntl, fd, F_SETPIPE_SZ, WINDOW_VSOCK);
}

static void start(u32 id, u32 flags, u16 rows, u16 columns, u32 window)
{
    struct process *process = find_process(0);
    if (process == NULL || find_process(id) != NULL) {
        struct process none = { .id = id };
        send_ended(&none, ENDED_RESOURCES, EAGAIN);
        return;
    }
    usize slot = (usize)(process - processes);
    int pipes[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } }, terminal[2] = { -1, -1 };
    if (verdicts == NULL)
        verdicts = (u32 *)sys(__NR_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
    verdicts[2 * slot] = ENDED_EXIT;
    int is_terminal = (flags & START_TERMINAL) != 0;
    long error = is_terminal ? make_terminal(terminal, rows, columns) : make_pipes(pipes);
    if (error >= 0) {
        error = CALL(fork);
        if (error == 0) {
            int fds[3] = { is_terminal ? terminal[1] : pipes[0][0], pipes[1][1], pipes[2][1] };
            run_child(slot, fds, flags);
        }
    }
    process->id = id;
    process->usage = (struct rusage){ 0 };
    if (error < 0) {
        for (int i = 0; i < 3; i++) {
            close_one(&pipes[i][0]);
            close_one(&pipes[i][1]);
        }
        close_one(&terminal[0]);
        close_one(&terminal[1]);
        send_ended(process, ENDED_RESOURCES, (u32)-error);
        process->id = 0;
        return;
    }
    process->pid = (int)error;
    if (first_process == 0)
        first_process = process->pid;
    process->terminal = is_terminal;
    process->ended = process->in_ends = process->draining = 0;
    process->first = process->used = process->unreported = 0;
    process->out_left = process->err_left = 0xffffffff;
    process->window = process->out_credit = process->err_credit = window;
    if (is_terminal) {
        process->in = process->out = terminal[0];
        process->err = -1;
        close_one(&terminal[1]);
    } else {
        process->in = pipes[0][1];
        process->out = pipes[1][0];
        process->err = pipes[2][0];
        close_one(&pipes[0][0]);
        close_one(&pipes[1][1]);
        close_one(&pipes[2][1]);
    }
    process->wide_in = process->wide_out = is_terminal;
    if (is_terminal)
        CALL(fcntl, process->in, F_SETFL, O_RDWR | O_NONBLOCK);
    send_u32(id, FRAME_STARTED, (u32)process->pid);
}

static void close_input(struct process *process)
{
    if (process->in >= 0 && !process->terminal)
        CALL(close, process->in);
    process->in = -1;
    process->used = 0;
}

static void take_input(struct process *process, const char *bytes, usize length)
{
    const char end_of_file = 4;             /* Ctrl-D, which is how a terminal says it */
    if (process->in < 0)
        return;
    if (length == 0) {
        if (process->terminal)
            take_input(process, &end_of_file, 1);
        else if (process->used == 0)
            close_input(process);
        process->in_ends = !process->terminal;
        return;
    }
    while (length != 0 && process->used < sizeof process->ring) {
        u32 end = (process->first + process->used) % (u32)sizeof process->ring;
        u32 room = (end < process->first ? process->first : (u32)sizeof process->ring) - end;
        u32 part = length < room ? (u32)length : room;
        memcpy(process->ring + end, bytes, part);
        process->used += part;
        bytes += part;
        length -= part;
    }
}

static void push_input(struct process *process)
{
    u32 room = (u32)sizeof process->ring - process->first;
    u32 length = process->used < room ? process->used : room;
    if (!process->wide_in) {                /* before the first write, which is not to wait */
        widen(process->in, O_WRONLY);
        process->wide_in = 1;
    }
    long done = CALL(write, process->in, process->ring + process->first, length);
    if (done == -EAGAIN || done == -EINTR)
        return;
    if (done < 0) {                         /* it has closed its input, or its terminal is gone */
        close_input(process);
        link_send(process->id, FRAME_INPUT_CLOSED, "", 0);
        return;
    }
    process->first = (process->first + (u32)done) % (u32)sizeof process->ring;
    process->used -= (u32)done;
    process->unreported += (u32)done;
    if (process->unreported >= link_window / 4) {
        send_u32(process->id, FRAME_INPUT_CREDIT, process->unreported);
        process->unreported = 0;
    }
    if (process->used == 0 && process->in_ends)
        close_input(process);
}

/* Sends one frame of a stream's output, as far as vmm has room for it. Returns how many bytes. */
static usize pull(struct process *process, int *fd, enum frame_type type, u32 *credit, u32 *left)
{
    usize room;
    u8 *at = link_reserve(&room);
    if (room > *credit)
        room = *credit;
    if (room > *left)
        room = *left;
    long count = room != 0 ? CALL(read, *fd, at, room) : 0;
    if (count == -EINTR || count == -EAGAIN)
        return 0;
    if (count > 0) {
        link_put(process->id, type, (usize)count);
        *credit -= (u32)count;
        if (process->ended && !process->terminal)
            *left -= (u32)count;
        if (*left != 0)
            return (usize)count;            /* there may be more */
    }
    close_one(fd);
    if (process->terminal)
        process->in = -1;
    link_send(process->id, type, "", 0);
    return 0;
}

/* Sends a few frames at once of a stream with much output. */
static void pull_output(struct process *process)
{
    for (int i = 0; i < PULLS_AT_ONCE && process->out >= 0 && process->out_credit != 0; i++) {
        if (pull(process, &process->out, FRAME_OUTPUT, &process->out_credit, &process->out_left) < FRAME_MOST || process->out < 0)
            return;
        if (!process->wide_out) {
            widen(process->out, O_RDONLY);
            process->wide_out = 1;
        }
    }
}

/* vmm has no use for a stream any more. */
static void abandon(struct process *process, int *fd, enum frame_type type)
{
    if (*fd < 0)
        return;
    close_one(fd);
    if (process->terminal)
        process->in = -1;
    link_send(process->id, type, "", 0);
    settle(process);
}

/* A process ended: what it wrote is still in its pipes. Others that it left behind may hold them open, and go on
   writing: so much and no more is its own. */
static void note_end(struct process *process, int status)
{
    int left = 0;
    process->ended = 1;
    process->status = status;
    if (process->terminal) {
        process->draining = 1;              /* its terminal is hung up, and says so when all was read */
        return;
    }
    close_input(process);
    if (process->out >= 0)
        process->out_left = CALL(ioctl, process->out, FIONREAD, &left) == 0 ? (u32)left : 0;
    if (process->err >= 0)
        process->err_left = CALL(ioctl, process->err, FIONREAD, &left) == 0 ? (u32)left : 0;
}

/* Says that it ended, once all its output is on its way. */
static void settle(struct process *process)
{
    usize slot = (usize)(process - processes);
    if (!process->ended)
        return;
    if (process->out >= 0 && process->out_left == 0)
        pull(process, &process->out, FRAME_OUTPUT, &process->out_credit, &process->out_left);
    if (process->err >= 0 && process->err_left == 0)
        pull(process, &process->err, FRAME_ERROR, &process->err_credit, &process->err_left);
    if (process->out >= 0 || process->err >= 0)
        return;
    int status = process->status;
    if (verdicts[2 * slot] != ENDED_EXIT)
        send_ended(process, verdicts[2 * slot], verdicts[2 * slot + 1]);
    else if ((status & 0x7f) == 0)
        send_ended(process, ENDED_EXIT, (u32)(status >> 8 & 0xff));
    else
        send_ended(process, ENDED_SIGNAL, (u32)(status & 0x7f));
    process->id = 0;
}

void processes_reap(void)
{
    struct rusage usage;
    int status;
    for (long pid; (pid = CALL(wait4, -1, &status, WNOHANG, &usage)) > 0;) {
        for (usize i = 0; i < PROCESSES_MOST; i++) {
            if (processes[i].id != 0 && processes[i].pid == pid && !processes[i].ended) {
                processes[i].usage = usage;
                note_end(processes + i, status);
                settle(processes + i);
                break;
            }
        }
    }
}

usize processes_watch(struct pollfd *watched, int *timeout)
{
    usize count = 0;
    for (usize i = 0; i < PROCESSES_MOST; i++) {
        struct process *process = processes + i;
        if (process->id == 0)
            continue;
        /* A hang-up is reported whether asked for or not: what there is no credit for is left out altogether. */
        watched[count++] = (struct pollfd){ .fd = process->used != 0 ? process->in : -1, .events = POLLOUT };
        watched[count++] = (struct pollfd){ .fd = process->out_credit != 0 ? process->out : -1, .events = POLLIN };
        watched[count++] = (struct pollfd){ .fd = process->err_credit != 0 ? process->err : -1, .events = POLLIN };
        if (process->draining && process->out_credit != 0)
            *timeout = DRAIN_MS;
    }
    return count;
}

void processes_serve(const struct pollfd *watched, usize count)
{
    usize next = 0;
    for (usize i = 0; i < PROCESSES_MOST; i++) {
        struct process *process = processes + i;
        if (process->id == 0)
            continue;
        if (count == 0) {                   /* waited long enough for a terminal's last output */
            if (process->draining && process->out >= 0) {
                close_one(&process->out);
                process->in = -1;
                link_send(process->id, FRAME_OUTPUT, "", 0);
                settle(process);
            }
            continue;
        }
        if (watched[next++].revents != 0 && process->in >= 0)
            push_input(process);
        if (watched[next++].revents != 0 && process->out >= 0)
            pull_output(process);
        if (watched[next++].revents != 0 && process->err >= 0)
            pull(process, &process->err, FRAME_ERROR, &process->err_credit, &process->err_left);
        settle(process);
    }
}

void processes_report(void)
{
    for (usize i = 0; i < PROCESSES_MOST; i++) {
        struct process *process = processes + i;
        if (process->id == 0)
            continue;
        process->out_credit = process->err_credit = process->window;
        process->in_ends = !process->terminal;      /* whoever typed it is with the other machine */
        process->unreported = 0;
        if (process->in_ends && process->used == 0)
            close_input(process);
        send_u32(process->id, FRAME_STARTED, (u32)process->pid);
    }
}

/* Of a machine all processes end, of a test only those that were started here. */
void processes_kill(void)
{
    if (is_init) {
        CALL(kill, -1, SIGKILL);
        return;
    }
    for (usize i = 0; i < PROCESSES_MOST; i++)
        if (processes[i].id != 0 && !processes[i].ended)
            CALL(kill, -processes[i].pid, SIGKILL);
}

static void add_strings(const char *bytes, usize length)
{
    if (length > sizeof strings - strings_used)
        length = sizeof strings - strings_used;
    memcpy(strings + strings_used, bytes, length);
    strings_used += length;
}

static void describe(u32 id)
{
    if (described == id)
        return;
    described = id;
    strings_used = environment_at = 0;
    *directory = *user = 0;
}

static void copy_text(char *to, usize room, const char *from, usize length)
{
    if (length >= room)
        length = room - 1;
    memcpy(to, from, length);
    to[length] = 0;
}

void handle_process(u32 id, enum frame_type type, char *content, usize length)
{
    struct process *process = find_process(id);
    struct { u32 flags; u16 rows, columns; u32 window; } request;
    struct { u16 rows, columns; } size;
    u32 value = 0;
    if (length == sizeof value)
        memcpy(&value, content, sizeof value);
    switch (type) {
    case FRAME_ARGUMENTS:
        describe(id);
        add_strings(content, length);
        environment_at = strings_used;
        return;
    case FRAME_ENVIRONMENT:                 /* after the arguments */
        describe(id);
        add_strings(content, length);
        return;
    case FRAME_DIRECTORY:
        describe(id);
        copy_text(directory, sizeof directory, content, length);
        return;
    case FRAME_USER:
        describe(id);
        copy_text(user, sizeof user, content, length);
        return;
    case FRAME_START:
        describe(id);
        if (length == sizeof request) {
            memcpy(&request, content, sizeof request);
            start(id, request.flags, request.rows, request.columns, request.window);
        }
        described = 0;
        return;
    default:
        break;
    }
    if (process == NULL)
        return;                             /* it has ended meanwhile */
    switch (type) {
    case FRAME_INPUT:
        take_input(process, content, length);
        break;
    case FRAME_OUTPUT_CREDIT:
        process->out_credit += value;
        break;
    case FRAME_ERROR_CREDIT:
        process->err_credit += value;
        break;
    case FRAME_SIGNAL:
        if (!process->ended && value < 65)
            CALL(kill, -process->pid, value);
        break;
    case FRAME_WINDOW:
        if (process->terminal && length == sizeof size && process->out >= 0) {
            memcpy(&size, content, sizeof size);
            struct winsize window = { .ws_row = size.rows, .ws_col = size.columns };
            CALL(ioctl, process->out, TIOCSWINSZ, &window);
        }
        break;
    case FRAME_OUTPUT_CLOSED:
        abandon(process, &process->out, FRAME_OUTPUT);
        break;
    case FRAME_ERROR_CLOSED:
        abandon(process, &process->err, FRAME_ERROR);
        break;
    default:
        break;
    }
}
