#define _GNU_SOURCE
#include "switch.h"
#include "frames.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 256 };

/* A machine is killed by its vmm 90 s after it was asked to end, if its --stop-timeout says nothing else. */
static const double STOP_PATIENCE = 100;

struct client {
    int fd;
    struct inbox inbox;
    struct queue sent;
    struct port *port;          /* NULL: it has asked for none yet, or waits for one (is_waiting) */
    int is_waiting, is_done;    /* done: hang up when all is sent */
    double since;
};

struct port {
    int fd;
    struct inbox inbox;
    struct queue sent;
    struct client *client;
    int is_draining;            /* the client has gone, the command not yet */
    char names[1024];           /* of the machines that the command left; empty while it runs */
};

static struct port ports[PORTS_MAX];
static struct client *clients[CLIENTS_MAX];
static int port_count, client_count, stop_asked;
static double stop_until;      /* machines are being stopped, and no longer than until then; 0 when none are */
static pid_t machine_pid;
static const char *version;
static double started, last_used;

int switch_wait_ready(struct machine *machine, double patience)
{
    static struct inbox inbox;
    struct frame header;
    char *content;
    for (double until = now() + patience; now() < until;) {
        struct pollfd readable = { .fd = machine->ports[0], .events = POLLIN };
        if (poll(&readable, 1, 100) > 0 && inbox_read(&inbox, machine->ports[0]) > 0
            && inbox_take(&inbox, &header, &content) > 0) {
            if (header.type == FRAME_READY)
                return 0;
            dprintf(machine->log, "%s\n", content);
            return -1;
        }
        if (waitpid(machine->pid, NULL, WNOHANG) == machine->pid) {
            machine->pid = -1;
            return -1;
        }
    }
    return -1;
}

static int busy_ports(void)
{
    int busy = 0;
    for (int each = 0; each < port_count; each++)
        busy += ports[each].client != NULL || ports[each].is_draining;
    return busy;
}

/* The names of all machines that run, each after a space. Returns how many ports they use. */
static int list_machines(char *text, size_t size)
{
    int count = 0;
    size_t used = 0;
    text[0] = 0;
    for (int each = 0; each < port_count; each++) {
        if (ports[each].names[0] == 0)
            continue;
        count++;
        if (used + strlen(ports[each].names) + 2 <= size)
            used += (size_t)snprintf(text + used, size - used, " %s", ports[each].names);
    }
    return count;
}

static void drop_client(int index)
{
    struct client *client = clients[index];
    if (client->port != NULL) {
        queue_frame(&client->port->sent, FRAME_GONE, NULL, 0);
        client->port->is_draining = 1;
        client->port->client = NULL;
    }
    close(client->fd);
    free(client->sent.bytes);
    free(client);
    clients[index] = clients[--client_count];
}

static void tell_status(struct client *client)
{
    char machines[2048], text[400 + sizeof machines];
    int busy = busy_ports(), staying = list_machines(machines, sizeof machines), used, commands = busy - staying;
    used = snprintf(text, sizeof text, "the emulated host runs: process %d, for %.0f s, %d command%s", (int)getpid(),
        now() - started, commands, commands == 1 ? "" : "s");
    if (staying != 0)
        used += snprintf(text + used, sizeof text - (size_t)used, ", machines:%s", machines);
    if (busy == 0)
        used += snprintf(text + used, sizeof text - (size_t)used, ", idle for %.0f s", now() - last_used);
    FILE *status;
    char path[64], line[200];
    snprintf(path, sizeof path, "/proc/%d/status", (int)machine_pid);
    if ((status = fopen(path, "r")) != NULL) {
        long kilobytes;
        while (fgets(line, sizeof line, status) != NULL)
            if (sscanf(line, "VmRSS: %ld", &kilobytes) == 1)
                used += snprintf(text + used, sizeof text - (size_t)used, ", %ld MiB of memory", kilobytes / 1024);
        fclose(status);
    }
    text[used++] = '\n';
    queue_frame(&client->sent, FRAME_STDOUT, text, (size_t)used);
    client->is_done = 1;
}

static void take_port(struct client *client)
{
    for (int each = 0; each < port_count && client->port == NULL; each++)
        if (ports[each].client == NULL && !ports[each].is_draining) {
            client->port = &ports[each];
            ports[each].client = client;
        }
    client->is_waiting = client->port == NULL;
}

/* As if each machine that runs had got SIGTERM: its power button is pressed. The host ends when the last one has. */
static void begin_stop(struct client *client)
{
    char machines[2048], text[100 + sizeof machines];
    uint32_t number = SIGTERM;
    if (list_machines(machines, sizeof machines) == 0) {
        stop_asked = 1;
        return;
    }
    for (int each = 0; each < port_count && stop_until == 0; each++)
        if (ports[each].names[0] != 0)
            queue_frame(&ports[each].sent, FRAME_SIGNAL, &number, sizeof number);
    if (stop_until == 0)
        stop_until = now() + STOP_PATIENCE;
    int used = snprintf(text, sizeof text, "vmm: stopping what runs in the emulated host first:%s\n", machines);
    if (client != NULL)
        queue_frame(&client->sent, FRAME_STDOUT, text, (size_t)used);
}

static void take_frames(struct client *client)
{
    static const char other[] = "the warm host belongs to another version of vmm; end it with 'vmm host stop'";
    struct frame header;
    char *content;
    int taken = 0;
    while (!client->is_waiting && !client->is_done && (taken = inbox_take(&client->inbox, &header, &content)) > 0) {
        if (client->port != NULL && header.type != FRAME_OPEN) {
            queue_frame(&client->port->sent, header.type, content, header.length);
        } else if (header.type == FRAME_OPEN && client->port == NULL) {
            if (strcmp(content, version) != 0) {
                queue_frame(&client->sent, FRAME_FAILED, other, sizeof other);
                client->is_done = 1;
                continue;
            }
            take_port(client);
            /* The port comes later: this frame is made again then. */
            if (client->port != NULL)
                queue_frame(&client->port->sent, FRAME_OPEN, "", 1);
        } else if (header.type == FRAME_STATUS) {
            tell_status(client);
        } else if (header.type == FRAME_STOP) {
            begin_stop(client);
        } else {
            client->is_done = 1;
        }
    }
    if (taken < 0)
        client->is_done = 1;
}

static void serve_waiting(void)
{
    for (int each = 0; each < client_count; each++)
        if (clients[each]->is_waiting) {
            take_port(clients[each]);
            if (clients[each]->port == NULL)
                return;
            queue_frame(&clients[each]->port->sent, FRAME_OPEN, "", 1);
            take_frames(clients[each]);
        }
}

static void hear_port(struct port *port)
{
    struct frame header;
    char *content;
    if (inbox_read(&port->inbox, port->fd) <= 0)
        return;
    while (inbox_take(&port->inbox, &header, &content) > 0) {
        if (port->client != NULL && header.type != FRAME_READY)
            queue_frame(&port->client->sent, header.type, content, header.length);
        if (header.type == FRAME_STAYS && header.length > sizeof(struct exit_frame))
            snprintf(port->names, sizeof port->names, "%s", content + sizeof(struct exit_frame));
        if (header.type != FRAME_EXIT)
            continue;
        port->names[0] = 0;
        if (port->client != NULL) {
            port->client->port = NULL;
            port->client->is_done = 1;
        }
        port->client = NULL;
        port->is_draining = 0;
        last_used = now();
        serve_waiting();
    }
}

static void accept_client(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    clients[client_count] = calloc(1, sizeof(struct client));
    if (clients[client_count] == NULL) {
        close(fd);
        return;
    }
    clients[client_count++]->fd = fd;
}

/* The clock inside goes wrong when this machine has slept or its clock was set, and a little all the time. */
static void tell_time(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    for (int each = 0; each < port_count; each++)
        if (ports[each].client != NULL)
            queue_frame(&ports[each].sent, FRAME_CLOCK, &time, sizeof time);
}

static int watch_clock(int timer)
{
    struct itimerspec never = { .it_value.tv_sec = (time_t)1 << 40 };
    timerfd_settime(timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
    return timer;
}

static void on_signal(int signals)
{
    struct signalfd_siginfo info;
    if (read(signals, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo == SIGCHLD)
        stop_asked = 1;                 /* the machine has ended */
    else
        begin_stop(NULL);
}

static int turn(int listener, int signals, int timer, double idle)
{
    struct pollfd watched[3 + PORTS_MAX + CLIENTS_MAX];
    char machines[2048];
    int served = client_count, timeout = 60000;
    double left = last_used + idle - now();
    if (busy_ports() == 0 && left < 60)
        timeout = left > 0 ? (int)(left * 1000) + 1 : 0;
    if (stop_until != 0)
        timeout = 1000;
    watched[0] = (struct pollfd){ .fd = client_count < CLIENTS_MAX ? listener : -1, .events = POLLIN };
    watched[1] = (struct pollfd){ .fd = signals, .events = POLLIN };
    watched[2] = (struct pollfd){ .fd = timer, .events = POLLIN };
    for (int each = 0; each < port_count; each++)
        watched[3 + each] = (struct pollfd){ .fd = ports[each].fd,
            .events = (short)(POLLIN | (queue_length(&ports[each].sent) != 0 ? POLLOUT : 0)) };
    struct pollfd *of_clients = watched + 3 + port_count;
    for (int each = 0; each < served; each++)
        of_clients[each] = (struct pollfd){ .fd = clients[each]->fd, .events = (short)(
            (clients[each]->is_waiting || clients[each]->is_done ? 0 : POLLIN)
            | (queue_length(&clients[each]->sent) != 0 ? POLLOUT : 0)) };
    int ready = poll(watched, (nfds_t)(3 + port_count + served), timeout);
    if (ready <= 0)
        tell_time();
    for (int each = served - 1; each >= 0 && ready > 0; each--) {
        struct client *client = clients[each];
        int ended = 0;
        if (of_clients[each].revents & POLLIN) {
            ended = inbox_read(&client->inbox, client->fd) == 0;
            take_frames(client);
        } else if (of_clients[each].revents & (POLLHUP | POLLERR)) {
            ended = 1;
        }
        if (of_clients[each].revents & POLLOUT && queue_write(&client->sent, client->fd) != 0)
            ended = 1;
        if (ended || (client->is_done && queue_length(&client->sent) == 0))
            drop_client(each);
    }
    for (int each = 0; each < port_count && ready > 0; each++) {
        if (watched[3 + each].revents & POLLOUT)
            queue_write(&ports[each].sent, ports[each].fd);
        if (watched[3 + each].revents & POLLIN)
            hear_port(&ports[each]);
    }
    if (ready > 0 && watched[0].revents)
        accept_client(listener);
    if (ready > 0 && watched[2].revents) {
        watch_clock(timer);
        tell_time();
    }
    if (ready > 0 && watched[1].revents)
        on_signal(signals);
    if (stop_until != 0 && (list_machines(machines, sizeof machines) == 0 || now() >= stop_until))
        return 0;
    if (busy_ports() == 0 && now() >= last_used + idle)
        return 0;
    return !stop_asked;
}

void switch_run(struct machine *machine, int count, int listener, const char *key, double idle)
{
    sigset_t caught;
    port_count = count;
    for (int each = 0; each < count; each++)
        ports[each].fd = machine->ports[each];
    machine_pid = machine->pid;
    version = key;
    started = last_used = now();
    sigemptyset(&caught);
    sigaddset(&caught, SIGTERM);
    sigaddset(&caught, SIGINT);
    sigaddset(&caught, SIGCHLD);        /* the machine has ended */
    sigprocmask(SIG_BLOCK, &caught, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    int signals = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
    int timer = watch_clock(timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
    while (turn(listener, signals, timer, idle))
        ;
}
