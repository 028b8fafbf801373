/* Answers questions about the portable core, one line each, so that another implementation can be held against it;
   and feeds a node mutated frames.

     sign KEY DIGEST · public KEY · shared KEY PUBLIC · verify PUBLIC DIGEST SIGNATURE · sha HEX · hmac KEY HEX
     crc HEX · encode HEX · decode HEX · frame HEX (for the corpus, without tag)
     signer PUBLIC · fuzz SEED COUNT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"
#include "sha256.h"

#define CORPUS 64

typedef struct {
    uint8_t bytes[4][64], slots[2][8192];
    size_t counts[4];
    unsigned long refused, applied, restarts, sent;
} memory;

static memory world;
static node fuzzed;
static node_identity identity;
static uint8_t signers[1][PUBLIC_BYTES];
static uint8_t corpus[CORPUS][FRAME_LIMIT];
static size_t corpus_counts[CORPUS];
static unsigned corpus_count;
static uint64_t seed;

static size_t from_hex(const char *text, uint8_t *to, size_t room) {
    size_t count = 0;
    unsigned value;
    while (text != NULL && count < room && sscanf(text + 2 * count, "%2x", &value) == 1) to[count++] = (uint8_t)value;
    return count;
}

static void say(const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) printf("%02x", bytes[i]);
    printf("\n");
}

static uint32_t drawn(uint32_t below) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 11) % below;
}

static size_t read_record(void *context, unsigned record, uint8_t *to, size_t room) {
    size_t count = world.counts[record] < room ? world.counts[record] : room;
    (void)context;
    memcpy(to, world.bytes[record], count);
    return count;
}

static bool write_record(void *context, unsigned record, const uint8_t *from, size_t count) {
    (void)context;
    memcpy(world.bytes[record], from, count);
    world.counts[record] = count;
    return true;
}

static bool erase_slot(void *context, unsigned slot) {
    (void)context;
    memset(world.slots[slot], 0xFF, sizeof world.slots[slot]);
    return true;
}

static bool write_slot(void *context, unsigned slot, uint32_t offset, const uint8_t *from, size_t count) {
    (void)context;
    if (offset > sizeof world.slots[slot] || count > sizeof world.slots[slot] - offset) return false;
    memcpy(world.slots[slot] + offset, from, count);
    return true;
}

static size_t read_slot(void *context, unsigned slot, uint32_t offset, uint8_t *to, size_t count) {
    (void)context;
    if (offset > sizeof world.slots[slot] || count > sizeof world.slots[slot] - offset) return 0;
    memcpy(to, world.slots[slot] + offset, count);
    return count;
}

static bool sign(void *context, const uint8_t digest[32], uint8_t signature[SIGNATURE_BYTES]) {
    (void)context;
    memcpy(signature, digest, 32);
    memcpy(signature + 32, digest, 32);
    return true;
}

static void send_bytes(void *context, const uint8_t *bytes, size_t count) {
    (void)context;
    /* Every frame a node sends is one: delimited, without a zero inside, and not too long. */
    if (count < 2 || count > FRAME_WIRE_LIMIT || bytes[count - 1] != 0 || memchr(bytes, 0, count - 1)) abort();
    world.sent++;
}

static bool apply(void *context, set_point kind, int32_t value) {
    (void)context;
    if (kind != SET_RELEASE && (value < identity.min_w || value > identity.max_w)) abort();
    world.applied++;
    return true;
}

static void restart(void *context) {
    (void)context;
    world.restarts++;
}

static void begin_fuzz(const node_port *port) {
    memset(&world, 0, sizeof world);
    memset(&identity, 0, sizeof identity);
    identity.min_w = -5000;
    identity.max_w = 11000;
    identity.trust.capacity = 4096;
    identity.trust.signers = (const uint8_t (*)[PUBLIC_BYTES])signers;
    identity.trust.signer_count = identity.trust.threshold = 1;
    memset(identity.trust.vendor_id, 0x11, 16);
    memset(identity.trust.class_id, 0x22, 16);
    memset(identity.trust.device_id, 0x33, 16);
    node_start(&fuzzed, &identity, port, 0);
}

static size_t mutated(uint8_t *frame, size_t count) {
    for (uint32_t changes = drawn(4); changes > 0; changes--) {
        size_t at = drawn((uint32_t)count + 1);
        switch (drawn(4)) {
        case 0: if (at < count) frame[at] ^= (uint8_t)(1u << drawn(8)); break;
        case 1: if (at < count) frame[at] = (uint8_t)drawn(256); break;
        case 2: count = at; break;
        default:
            if (count < FRAME_LIMIT - 64) {
                memmove(frame + at + 1, frame + at, count - at);
                frame[at] = (uint8_t)drawn(256);
                count++;
            }
        }
    }
    return count;
}

/* A quarter of the frames is torn on the wire, a quarter has a right checksum, half a right tag as well, mostly they
   come in the order that makes sense: so that every layer behind the one before is reached. */
static void fuzz(unsigned long frames) {
    node_port port = {NULL, {NULL, read_record, write_record, erase_slot, write_slot, read_slot}, sign, send_bytes,
                      apply, restart};
    uint64_t now_ms = 1000;
    begin_fuzz(&port);
    for (unsigned long i = 0; i < frames && corpus_count > 0; i++) {
        uint8_t frame[FRAME_LIMIT + 64], wire[FRAME_WIRE_LIMIT], tag[32];
        unsigned which = drawn(4) == 0 ? drawn(corpus_count) : (unsigned)(i % corpus_count), depth = drawn(4);
        size_t count = corpus_counts[which];
        hmac256 mac;
        memcpy(frame, corpus[which], count);
        if (frame[0] == 0x85) put_le(frame + 10, i + 1, 4), put_le(frame + 19, now_ms, 8);
        if (frame[0] == 0x86 && frame[10] == 2) put_le(frame + 11, fuzzed.update.received, 4);
        if (drawn(3) == 0) count = mutated(frame, count);
        if (depth > 0 && count >= 10) {
            put_le(frame + 2, fuzzed.epoch, 4);
            put_le(frame + 6, fuzzed.heard + 1 - (drawn(8) == 0), 4);
        }
        if (depth >= 2) {
            hmac256_begin(&mac, identity.link_key, 32);
            hmac256_add(&mac, frame, count);
            hmac256_end(&mac, tag);
            memcpy(frame + count, tag, 16);
            count += 16;
        }
        count = frame_wrap(frame, count, wire);
        if (depth == 0) count = mutated(wire, count < 400 ? count : 400);
        node_receive(&fuzzed, wire, count, now_ms);
        if (drawn(8) == 0) {
            node_values values = {0x7FF, i, i, 1, 1, {1, 1, 1}, {1, 1, 1}, 50000};
            node_measure(&fuzzed, &values, now_ms);
        }
        now_ms += drawn(200);
        node_tick(&fuzzed, now_ms);
        if (drawn(1000) == 0 || i + 1 == frames) {
            world.refused += fuzzed.refused + fuzzed.reader.refused;
            node_start(&fuzzed, &identity, &port, 0);
        }
    }
    printf("%lu %lu %lu %lu\n", world.refused, world.applied, world.restarts, world.sent);
}

static void answer(const char *what, char *a, char *b, char *c) {
    static uint8_t x[4096], y[4096], z[4096];
    size_t n = from_hex(a, x, sizeof x), m = from_hex(b, y, sizeof y);
    from_hex(c, z, sizeof z);
    uint8_t wide[FRAME_WIRE_LIMIT] = {0};
    if (!strcmp(what, "sign")) say(wide, secp256k1_sign(x, y, wide) ? 64 : 0);
    if (!strcmp(what, "public")) say(wide, secp256k1_public(x, wide) ? 64 : 0);
    if (!strcmp(what, "shared")) say(wide, secp256k1_shared(x, y, wide) ? 32 : 0);
    if (!strcmp(what, "verify")) printf("%d\n", secp256k1_verify(x, y, z));
    if (!strcmp(what, "signer")) memcpy(signers[0], x, PUBLIC_BYTES), printf("1\n");
    if (!strcmp(what, "sha")) sha256_of(x, n, wide), say(wide, 32);
    if (!strcmp(what, "crc")) printf("%08lx\n", (unsigned long)crc32c(x, n));
    if (!strcmp(what, "encode")) say(wide, cobs_encode(x, n, wide));
    if (!strcmp(what, "decode")) say(x, cobs_decode(x, n, x));
    if (!strcmp(what, "hmac")) {
        hmac256 mac;
        hmac256_begin(&mac, x, n);
        hmac256_add(&mac, y, m);
        hmac256_end(&mac, wide);
        say(wide, 32);
    }
    if (!strcmp(what, "frame") && corpus_count < CORPUS && n <= FRAME_LIMIT - 32) {
        memcpy(corpus[corpus_count], x, n);
        corpus_counts[corpus_count++] = n;
        printf("%u\n", corpus_count);
    }
}

int main(void) {
    static char line[16384];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *what = strtok(line, " \n"), *a = strtok(NULL, " \n"), *b = strtok(NULL, " \n"), *c = strtok(NULL, " \n");
        if (what != NULL && !strcmp(what, "fuzz") && a != NULL && b != NULL) {
            seed = strtoul(a, NULL, 10) * 2654435761u + 88172645463325252u;
            fuzz(strtoul(b, NULL, 10));
        } else if (what != NULL) {
            answer(what, a, b, c);
        }
    }
    return 0;
}
