/* The reference node as a program: frames over stdin and stdout, readings that count up, records and slots as files.

     node FOLDER KEY GATEWAY THRESHOLD SIGNER[,SIGNER...] [INTERVAL_MS [WRITES_LEFT]]

   KEY is the node's private key, GATEWAY and SIGNER are public keys of 64 bytes, all in hexadecimal. The set-point in
   force is in FOLDER/setpoint. A slot whose image begins with BAD is a firmware that dies at its start. */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "folder_store.h"
#include "node.h"

#define BROKEN_FIRMWARE 3

typedef struct {
    uint8_t key[KEY_BYTES];
    folder_store place;
    char **arguments;
} host;

static uint64_t monotonic_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static bool from_hex(const char *text, uint8_t *to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        unsigned value;
        if (sscanf(text + 2 * i, "%2x", &value) != 1) return false;
        to[i] = (uint8_t)value;
    }
    return true;
}

static bool sign(void *context, const uint8_t digest[32], uint8_t signature[SIGNATURE_BYTES]) {
    return secp256k1_sign(((host *)context)->key, digest, signature);
}

static void send_bytes(void *context, const uint8_t *bytes, size_t count) {
    (void)context;
    while (count > 0) {
        ssize_t sent = write(STDOUT_FILENO, bytes, count);
        if (sent <= 0) exit(1);
        bytes += sent;
        count -= (size_t)sent;
    }
}

static bool apply(void *context, set_point kind, int32_t value) {
    char beside[512], path[512];
    const char *folder = ((host *)context)->place.folder;
    FILE *file;
    snprintf(path, sizeof path, "%s/setpoint", folder);
    snprintf(beside, sizeof beside, "%s/setpoint.new", folder);
    file = fopen(beside, "w");
    if (file == NULL) return false;
    fprintf(file, "%d %ld\n", (int)kind, (long)value);
    return fclose(file) == 0 && rename(beside, path) == 0;
}

static void restart(void *context) {
    host *self = context;
    execv(self->arguments[0], self->arguments);
    exit(1);
}

/* What the boot loader of a node does: choose a slot, and jump. */
static unsigned booted(const storage *store, const update_trust *trust) {
    updater loader;
    uint8_t image[3];
    unsigned slot;
    update_open(&loader, store, trust);
    slot = update_boot(&loader);
    if (store->read_slot(store->context, slot, ENVELOPE_ROOM, image, 3) == 3 && memcmp(image, "BAD", 3) == 0) {
        exit(BROKEN_FIRMWARE);
    }
    return slot;
}

static node_values simulated(uint64_t tick) {
    node_values values = {0x7FF, 1000 + 5 * tick, 200 + tick, 1500, -120, {230100, 229800, 231000},
                          {6500, 0, 120}, 50010};
    return values;
}

static void run(node *self, uint64_t interval_ms) {
    uint64_t start_ms = monotonic_ms(), ticks = 0;
    for (;;) {
        struct pollfd input = {STDIN_FILENO, POLLIN, 0};
        uint8_t bytes[256];
        uint64_t now_ms;
        if (poll(&input, 1, 5) > 0) {
            ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
            if (count <= 0) return;
            node_receive(self, bytes, (size_t)count, monotonic_ms() - start_ms);
        }
        now_ms = monotonic_ms() - start_ms;
        if (now_ms >= (ticks + 1) * interval_ms) {
            node_values values = simulated(ticks++);
            node_measure(self, &values, now_ms);
        }
        node_tick(self, now_ms);
    }
}

int main(int count, char **arguments) {
    static uint8_t signers[SIGNERS_LIMIT][PUBLIC_BYTES];
    static node self;
    uint8_t gateway[PUBLIC_BYTES];
    host here = {{0}, {NULL, -1}, arguments};
    node_identity identity = {.trust = {.capacity = 1u << 20}, .serial = "EG-NODE-1", .version = "1.0.0",
                              .min_w = -5000, .max_w = 11000};
    node_port port = {&here, {0}, sign, send_bytes, apply, restart};
    if (count < 6) return 2;
    here.place.folder = arguments[1];
    if (count > 7) here.place.writes_left = atol(arguments[7]);
    if (!from_hex(arguments[2], here.key, KEY_BYTES) || !from_hex(arguments[3], gateway, PUBLIC_BYTES)) return 2;
    for (const char *at = arguments[5]; at != NULL && identity.trust.signer_count < SIGNERS_LIMIT;) {
        if (!from_hex(at, signers[identity.trust.signer_count++], PUBLIC_BYTES)) return 2;
        at = strchr(at, ',');
        if (at != NULL) at++;
    }
    memset(identity.trust.vendor_id, 0x11, 16);
    memset(identity.trust.class_id, 0x22, 16);
    memset(identity.trust.device_id, 0x33, 16);
    identity.trust.signers = (const uint8_t (*)[PUBLIC_BYTES])signers;
    identity.trust.threshold = (unsigned)atoi(arguments[4]);
    if (!secp256k1_public(here.key, identity.public_key) ||
        !secp256k1_shared(here.key, gateway, identity.link_key)) {
        return 2;
    }
    port.store = folder_storage(&here.place);
    node_start(&self, &identity, &port, booted(&port.store, &identity.trust));
    run(&self, count > 6 ? strtoul(arguments[6], NULL, 10) : 1000);
    return 0;
}
