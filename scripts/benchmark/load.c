/* SPDX-License-Identifier: Apache-2.0 */
/* Many guests at once, each in a network namespace of its own, each request on a new connection.
 *
 * load ADDRESS SLOTS TOTAL SECONDS REQUESTS MARKER NAMESPACE...
 *
 * ADDRESS    the IPv4 address of the service; the port is 80
 * SLOTS      the number of connections at a time
 * TOTAL      the number of connections altogether
 * SECONDS    the time after which connections without an answer count as failed
 * REQUESTS   a file of requests, each ended by an empty line and asking the server to close the connection
 * MARKER     the text that the answer to a guest's first request must contain, with %u for the guest's number, which
 *            counts from 0; "" for no such text
 *
 * Each slot plays guest after guest, and each guest sends all requests, one after the other. The program is in C
 * because the load must cost less than what is measured, and has one thread because it may use one core. It prints one
 * line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_SIZE  65536
#define MAX_REQUESTS 256
#define STEP_US	     20000

struct slot {
	int socket;
	unsigned guest, request;
	bool sent;
	uint64_t began;
	size_t length;
	char *answer;
};

static struct {
	const char *text;
	size_t length;
} requests[MAX_REQUESTS];

static unsigned request_count, guest_count;
static int *guests;
static const char *marker;
static struct sockaddr_in service = { .sin_family = AF_INET };
static int poller;
static uint32_t *latencies; /* microseconds */
static unsigned done, begun, total, not_200, wrong, broken, unconnected;

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ull + now.tv_nsec / 1000;
}

static void read_requests(const char *path)
{
	static char text[1 << 20];
	int file = open(path, O_RDONLY);
	ssize_t length = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
	char *at = text;

	if (length < 0)
		die(path);
	close(file);
	while (*at && request_count < MAX_REQUESTS) {
		char *end = strstr(at, "\r\n\r\n");

		if (!end)
			break;
		requests[request_count].text = at;
		requests[request_count++].length = end + 4 - at;
		at = end + 4;
	}
	if (!request_count) {
		errno = EINVAL;
		die(path);
	}
}

static void begin(struct slot *slot);

/* Goes on with the guest's next request, or with the slot's next guest. */
static void next(struct slot *slot, unsigned slots)
{
	if (++slot->request == request_count) {
		slot->request = 0;
		slot->guest = (slot->guest + slots) % guest_count;
	}
	begin(slot);
}

static void begin(struct slot *slot)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = slot };

	slot->socket = -1;
	if (begun == total)
		return;
	begun++;
	slot->sent = false;
	slot->length = 0;
	/* A socket belongs to the namespace in which it was opened. */
	if (setns(guests[slot->guest], CLONE_NEWNET) < 0)
		die("setns");
	slot->began = now_us();
	slot->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (slot->socket < 0)
		die("socket");
	if (connect(slot->socket, (struct sockaddr *)&service, sizeof(service)) < 0 && errno != EINPROGRESS)
		die("connect");
	if (epoll_ctl(poller, EPOLL_CTL_ADD, slot->socket, &event) < 0)
		die("epoll_ctl");
}

static void finish(struct slot *slot)
{
	char expected[256];

	close(slot->socket);
	latencies[done++] = now_us() - slot->began;
	slot->answer[slot->length] = 0;
	if (!slot->sent)
		unconnected++;
	else if (!slot->length)
		broken++;
	else if (strncmp(slot->answer, "HTTP/1.1 200", 12))
		not_200++;
	else if (*marker && slot->request == 0) {
		snprintf(expected, sizeof(expected), marker, slot->guest);
		if (!strstr(slot->answer, expected))
			wrong++;
	}
}

/* Returns whether the answer has arrived, or cannot arrive any more. */
static bool advance(struct slot *slot, uint32_t events)
{
	if (!slot->sent && (events & EPOLLOUT) && !(events & (EPOLLERR | EPOLLHUP))) {
		if (send(slot->socket, requests[slot->request].text, requests[slot->request].length, MSG_NOSIGNAL) < 0)
			return true;
		slot->sent = true;
	}
	while (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
		ssize_t got = recv(slot->socket, slot->answer + slot->length, ANSWER_SIZE - 1 - slot->length, 0);

		if (got < 0 && errno == EAGAIN)
			return false;
		if (got <= 0)
			return true;
		slot->length += got;
		/* Only the head of a long answer is examined: keep it, and overwrite the rest. */
		if (slot->length == ANSWER_SIZE - 1)
			slot->length = ANSWER_SIZE / 2;
	}
	return false;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double percentile(double part)
{
	return done ? latencies[(unsigned)(part * (done - 1))] / 1000.0 : 0;
}

int main(int argc, char **argv)
{
	struct epoll_event events[256];
	struct rlimit files;
	uint64_t began, end, ended;
	unsigned slots, used;
	struct slot *all;

	if (argc < 8) {
		fprintf(stderr, "usage: load ADDRESS SLOTS TOTAL SECONDS REQUESTS MARKER NAMESPACE...\n");
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	service.sin_port = htons(80);
	if (inet_pton(AF_INET, argv[1], &service.sin_addr) != 1)
		die(argv[1]);
	slots = atoi(argv[2]);
	total = atoi(argv[3]);
	read_requests(argv[5]);
	marker = argv[6];
	guest_count = argc - 7;
	guests = calloc(guest_count, sizeof(*guests));
	for (unsigned i = 0; i < guest_count; i++) {
		guests[i] = open(argv[7 + i], O_RDONLY | O_CLOEXEC);
		if (guests[i] < 0)
			die(argv[7 + i]);
	}
	latencies = calloc(total, sizeof(*latencies));
	poller = epoll_create1(EPOLL_CLOEXEC);
	used = slots < guest_count ? slots : guest_count;
	all = calloc(used, sizeof(*all));

	began = now_us();
	end = began + atoi(argv[4]) * 1000000ull;
	for (unsigned i = 0; i < used; i++) {
		all[i].guest = i;
		all[i].answer = malloc(ANSWER_SIZE);
		begin(&all[i]);
	}
	while (done < total && now_us() < end) {
		int count = epoll_wait(poller, events, 256, STEP_US / 1000);

		for (int i = 0; i < count; i++) {
			struct slot *slot = events[i].data.ptr;

			if (slot->socket >= 0 && advance(slot, events[i].events)) {
				finish(slot);
				next(slot, used);
			}
		}
	}
	ended = now_us();
	qsort(latencies, done, sizeof(*latencies), compare);
	printf("{\"seconds\": %.3f, \"done\": %u, \"stuck\": %u, \"unconnected\": %u, \"broken\": %u, \"not_200\": %u, "
	       "\"wrong\": %u, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
	       (ended - began) / 1e6, done, total - done, unconnected, broken, not_200, wrong, percentile(0.5),
	       percentile(0.99), percentile(1));
	return 0;
}
