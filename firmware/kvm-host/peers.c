#define _GNU_SOURCE
#include "peers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
    uint32_t number, credit;
    int fd;
    struct queue waiting;
    int has_read_end, gets_end, is_ended;    /* read to its end; its end comes after what waits; the end was passed on */
};

static struct peer peers[PEERS_MAX];
static int count;

static void tell_end(uint32_t number, struct queue *sent)
{
    queue_frame(sent, FRAME_PEER_END, &number, sizeof number);
}

int peer_add(uint32_t number, int fd, struct queue *sent)
{
    if (count == PEERS_MAX) {
        close(fd);
        tell_end(number, sent);
        return -1;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    peers[count++] = (struct peer){ .number = number, .credit = PEER_WINDOW, .fd = fd };
    return 0;
}

static void write_waiting(struct peer *peer, struct queue *sent)
{
    struct peer_frame taken = { peer->number, 0 };
    size_t before = queue_length(&peer->waiting);
    if (queue_write(&peer->waiting, peer->fd) != 0)
        peer->waiting.start = peer->waiting.end;         /* nobody reads it: as if it were taken */
    taken.bytes = (uint32_t)(before - queue_length(&peer->waiting));
    if (taken.bytes != 0)
        queue_frame(sent, FRAME_PEER_CREDIT, &taken, sizeof taken);
    if (peer->gets_end && !peer->is_ended && queue_length(&peer->waiting) == 0) {
        shutdown(peer->fd, SHUT_WR);
        peer->is_ended = 1;
    }
}

static void drop_done(void)
{
    for (int each = count - 1; each >= 0; each--)
        if (peers[each].has_read_end && peers[each].is_ended) {
            close(peers[each].fd);
            free(peers[each].waiting.bytes);
            peers[each] = peers[--count];
        }
}

void peer_frame(const struct frame *header, const char *content, struct queue *sent)
{
    struct peer_frame about = { 0, 0 };
    memcpy(&about, content, header->length < sizeof about ? sizeof about.number : sizeof about);
    for (int each = 0; each < count; each++) {
        struct peer *peer = &peers[each];
        if (peer->number != about.number)
            continue;
        if (header->type == FRAME_PEER_DATA)
            queue_put(&peer->waiting, content + sizeof about.number, header->length - sizeof about.number);
        else if (header->type == FRAME_PEER_CREDIT)
            peer->credit += about.bytes;
        else
            peer->gets_end = 1;
        write_waiting(peer, sent);
        break;
    }
    drop_done();
}

int peers_watch(struct pollfd *watched)
{
    for (int each = 0; each < count; each++) {
        short events = 0;
        if (!peers[each].has_read_end && peers[each].credit != 0)
            events |= POLLIN;
        if (queue_length(&peers[each].waiting) != 0)
            events |= POLLOUT;
        watched[each] = (struct pollfd){ .fd = events != 0 ? peers[each].fd : -1, .events = events };
    }
    return count;
}

static void read_some(struct peer *peer, struct queue *sent)
{
    char bytes[sizeof peer->number + PIECE_MAX];
    size_t room = peer->credit < PIECE_MAX ? peer->credit : PIECE_MAX;
    ssize_t got = read(peer->fd, bytes + sizeof peer->number, room);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        peer->has_read_end = 1;
        tell_end(peer->number, sent);
        return;
    }
    peer->credit -= (uint32_t)got;
    memcpy(bytes, &peer->number, sizeof peer->number);
    queue_frame(sent, FRAME_PEER_DATA, bytes, sizeof peer->number + (size_t)got);
}

void peers_turn(const struct pollfd *watched, int watched_count, struct queue *sent)
{
    for (int each = 0; each < watched_count; each++) {
        if (watched[each].fd != peers[each].fd)
            continue;
        if (watched[each].revents & POLLOUT)
            write_waiting(&peers[each], sent);
        if (watched[each].events & POLLIN && watched[each].revents & (POLLIN | POLLHUP | POLLERR))
            read_some(&peers[each], sent);
    }
    drop_done();
}
