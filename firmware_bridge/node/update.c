#include "update.h"

#include <string.h>

#include "frame.h"
#include "sha256.h"

/* Offsets inside a manifest. */
enum {
    AT_VENDOR = 4,
    AT_CLASS = 20,
    AT_DEVICE = 36,
    AT_SEQUENCE = 52,
    AT_PRECURSOR = 60,
    AT_EXPIRES = 68,
    AT_SIZE = 76,
    AT_PAYLOAD = 80,
    AT_DIGEST = 84,
    AT_VERSION = 116
};
#define BLOCK_BYTES (KEY_ID_BYTES + SIGNATURE_BYTES)
#define SIGN_LIMIT ((uint64_t)1 << 63)

static bool is_version(const uint8_t *text) {
    unsigned count = 0;
    while (count < 16 && text[count] >= 0x20 && text[count] <= 0x7E) count++;
    if (count == 0) return false;
    while (count < 16) {
        if (text[count++] != 0) return false;
    }
    return true;
}

static bool is_envelope(const uint8_t *envelope, size_t count) {
    unsigned blocks;
    if (count <= MANIFEST_BYTES || memcmp(envelope, "EGM1", 4) != 0) return false;
    blocks = envelope[MANIFEST_BYTES];
    if (blocks < 1 || blocks > SIGNERS_LIMIT || count != MANIFEST_BYTES + 1 + blocks * BLOCK_BYTES) return false;
    for (unsigned i = 1; i < blocks; i++) {
        const uint8_t *block = envelope + MANIFEST_BYTES + 1 + i * BLOCK_BYTES;
        if (memcmp(block - BLOCK_BYTES, block, KEY_ID_BYTES) >= 0) return false;
    }
    return get_le(envelope + AT_SEQUENCE, 8) - 1 < SIGN_LIMIT - 1 && get_le(envelope + AT_PRECURSOR, 8) < SIGN_LIMIT &&
           get_le(envelope + AT_EXPIRES, 8) - 1 < SIGN_LIMIT - 1 && get_le(envelope + AT_SIZE, 4) > 0 &&
           envelope[AT_PAYLOAD] <= 2 && get_le(envelope + AT_PAYLOAD + 1, 3) == 0 && is_version(envelope + AT_VERSION);
}

static update_refusal judged_signers(const uint8_t *envelope, const update_trust *trust) {
    uint8_t digest[SHA256_BYTES];
    const uint8_t *keys[SIGNERS_LIMIT] = {0};
    unsigned blocks = envelope[MANIFEST_BYTES];
    sha256 hash;
    for (unsigned i = 0; i < blocks; i++) {
        for (unsigned j = 0; j < trust->signer_count && keys[i] == NULL; j++) {
            sha256_of(trust->signers[j], PUBLIC_BYTES, digest);
            if (memcmp(digest, envelope + MANIFEST_BYTES + 1 + i * BLOCK_BYTES, KEY_ID_BYTES) == 0) {
                keys[i] = trust->signers[j];
            }
        }
        if (keys[i] == NULL) return UNKNOWN_SIGNER;
    }
    if (blocks < trust->threshold) return TOO_FEW_SIGNERS;
    sha256_begin(&hash);
    sha256_add(&hash, "energy-grid/update/1", 20);
    sha256_add(&hash, envelope, MANIFEST_BYTES);
    sha256_end(&hash, digest);
    for (unsigned i = 0; i < blocks; i++) {
        const uint8_t *block = envelope + MANIFEST_BYTES + 1 + i * BLOCK_BYTES;
        if (!secp256k1_verify(keys[i], digest, block + KEY_ID_BYTES)) return BAD_SIGNATURE;
    }
    return TAKEN;
}

/* The order of the questions is the precedence of the refusals; who signed it costs most and comes last. */
static update_refusal judged(const uint8_t *envelope, size_t count, const update_trust *trust, uint64_t installed,
                             uint64_t now_s) {
    static const uint8_t ANY_DEVICE[16] = {0};
    if (!is_envelope(envelope, count)) return MALFORMED;
    if (memcmp(envelope + AT_VENDOR, trust->vendor_id, 16) != 0) return WRONG_VENDOR;
    if (memcmp(envelope + AT_CLASS, trust->class_id, 16) != 0) return WRONG_CLASS;
    if (memcmp(envelope + AT_DEVICE, ANY_DEVICE, 16) != 0 && memcmp(envelope + AT_DEVICE, trust->device_id, 16) != 0) {
        return WRONG_DEVICE;
    }
    if (get_le(envelope + AT_SEQUENCE, 8) <= installed) return OLD_SEQUENCE;
    if (get_le(envelope + AT_PRECURSOR, 8) > installed) return WRONG_PRECURSOR;
    if (get_le(envelope + AT_SIZE, 4) > trust->capacity) return OVERSIZED;
    if (now_s == 0) return CLOCK_UNKNOWN;
    if (now_s >= get_le(envelope + AT_EXPIRES, 8)) return EXPIRED;
    return judged_signers(envelope, trust);
}

static unsigned spare(const updater *self) { return 1u - self->active; }

/* Length of the envelope a slot begins with, 0 for none; `to` has room for ENVELOPE_LIMIT. */
static size_t envelope_in(const updater *self, unsigned slot, uint8_t *to) {
    uint8_t length[2];
    size_t count;
    if (self->store->read_slot(self->store->context, slot, 0, length, 2) != 2) return 0;
    count = (size_t)get_le(length, 2);
    if (count <= MANIFEST_BYTES || count > ENVELOPE_LIMIT) return 0;
    if (self->store->read_slot(self->store->context, slot, 2, to, count) != count) return 0;
    return is_envelope(to, count) ? count : 0;
}

/* Sequence of a slot whose image has the size and digest of its manifest, 0 for every other slot. */
static uint64_t whole_image(const updater *self, unsigned slot) {
    uint8_t envelope[ENVELOPE_LIMIT], part[256], digest[SHA256_BYTES];
    sha256 hash;
    uint32_t size;
    if (envelope_in(self, slot, envelope) == 0) return 0;
    size = (uint32_t)get_le(envelope + AT_SIZE, 4);
    sha256_begin(&hash);
    for (uint32_t at = 0; at < size;) {
        size_t wanted = size - at < sizeof part ? size - at : sizeof part;
        if (self->store->read_slot(self->store->context, slot, ENVELOPE_ROOM + at, part, wanted) != wanted) return 0;
        sha256_add(&hash, part, wanted);
        at += (uint32_t)wanted;
    }
    sha256_end(&hash, digest);
    return memcmp(digest, envelope + AT_DIGEST, sizeof digest) == 0 ? get_le(envelope + AT_SEQUENCE, 8) : 0;
}

/* Writes the record into the copy that does not hold the newest one; nothing changes where that fails. */
static update_refusal stored(updater *self, updater *next) {
    uint8_t record[UPDATE_RECORD_BYTES];
    next->generation = self->generation + 1;
    put_le(record, next->generation, 4);
    record[4] = next->active;
    record[5] = next->stage;
    record[6] = next->boots;
    record[7] = 0;
    put_le(record + 8, next->floor, 8);
    put_le(record + 16, next->received, 4);
    put_le(record + 20, crc32c(record, 20), 4);
    if (!self->store->write_record(self->store->context, RECORD_UPDATE + next->generation % 2, record, sizeof record)) {
        return STORAGE_FAILED;
    }
    *self = *next;
    return TAKEN;
}

static update_refusal moved(updater *self, update_stage stage, uint8_t boots, uint32_t received) {
    updater next = *self;
    next.stage = (uint8_t)stage;
    next.boots = boots;
    next.received = received;
    return stored(self, &next);
}

void update_open(updater *self, const storage *store, const update_trust *trust) {
    bool found = false;
    memset(self, 0, sizeof *self);
    self->store = store;
    self->trust = trust;
    for (unsigned copy = 0; copy < 2; copy++) {
        uint8_t record[UPDATE_RECORD_BYTES];
        uint32_t generation;
        size_t count = store->read_record(store->context, RECORD_UPDATE + copy, record, sizeof record);
        if (count != sizeof record || crc32c(record, 20) != get_le(record + 20, 4)) continue;
        generation = (uint32_t)get_le(record, 4);
        if (record[4] > 1 || record[5] > TRIAL || (found && generation <= self->generation)) continue;
        found = true;
        self->generation = generation;
        self->active = record[4];
        self->stage = record[5];
        self->boots = record[6];
        self->floor = get_le(record + 8, 8);
        self->received = (uint32_t)get_le(record + 16, 4);
    }
    for (unsigned slot = 0; slot < 2 && !found; slot++) {
        uint64_t sequence = whole_image(self, slot);
        if (sequence >= self->floor && sequence > 0) {
            self->floor = sequence;
            self->active = (uint8_t)slot;
        }
    }
    if (self->stage != IDLE) self->envelope_count = envelope_in(self, spare(self), self->envelope);
}

unsigned update_boot(updater *self) {
    if (self->stage == TRIAL) {
        if (self->boots > 0 && whole_image(self, spare(self)) > 0) {
            return moved(self, TRIAL, (uint8_t)(self->boots - 1), self->received) == TAKEN ? spare(self) : self->active;
        }
        if (moved(self, IDLE, 0, 0) != TAKEN) return self->active;
    }
    if (self->floor > 0 && whole_image(self, self->active) == 0 && whole_image(self, spare(self)) > 0) {
        return spare(self);
    }
    return self->active;
}

update_refusal update_begin(updater *self, const uint8_t *envelope, size_t count, uint64_t now_s) {
    uint8_t length[2];
    update_refusal refusal;
    const storage *store = self->store;
    if (self->stage == TRIAL) return WRONG_STAGE;
    refusal = judged(envelope, count, self->trust, self->floor, now_s);
    if (refusal != TAKEN) return refusal;
    if (self->stage != IDLE && self->envelope_count == count && memcmp(self->envelope, envelope, count) == 0) {
        return TAKEN;
    }
    if (self->stage != IDLE && moved(self, IDLE, 0, 0) != TAKEN) return STORAGE_FAILED;
    put_le(length, count, 2);
    if (!store->erase_slot(store->context, spare(self)) ||
        !store->write_slot(store->context, spare(self), 0, length, sizeof length) ||
        !store->write_slot(store->context, spare(self), sizeof length, envelope, count)) {
        return STORAGE_FAILED;
    }
    memmove(self->envelope, envelope, count);
    self->envelope_count = count;
    return moved(self, RECEIVING, 0, 0);
}

update_refusal update_receive(updater *self, uint32_t offset, const uint8_t *part, size_t count) {
    uint32_t size, grown;
    if (self->stage != RECEIVING || self->envelope_count == 0) return WRONG_STAGE;
    size = (uint32_t)get_le(self->envelope + AT_SIZE, 4);
    if (count > size || offset > size - count) return OVERSIZED;
    grown = offset + (uint32_t)count;
    if (grown <= self->received) return TAKEN;
    if (offset != self->received) return WRONG_OFFSET;
    if (!self->store->write_slot(self->store->context, spare(self), ENVELOPE_ROOM + offset, part, count)) {
        return STORAGE_FAILED;
    }
    if (grown / CHECKPOINT_BYTES > self->received / CHECKPOINT_BYTES || grown == size) {
        return moved(self, RECEIVING, 0, grown);
    }
    self->received = grown;
    return TAKEN;
}

update_refusal update_complete(updater *self) {
    if (self->stage != RECEIVING || self->envelope_count == 0) return WRONG_STAGE;
    if (self->received != get_le(self->envelope + AT_SIZE, 4)) return WRONG_SIZE;
    if (whole_image(self, spare(self)) == 0) {
        return moved(self, IDLE, 0, 0) == TAKEN ? WRONG_DIGEST : STORAGE_FAILED;
    }
    return moved(self, READY, 0, self->received);
}

update_refusal update_switch(updater *self, uint64_t now_s) {
    update_refusal refusal;
    if (self->stage != READY) return WRONG_STAGE;
    refusal = judged(self->envelope, self->envelope_count, self->trust, self->floor, now_s);
    if (refusal != TAKEN) return refusal;
    if (whole_image(self, spare(self)) == 0) {
        return moved(self, IDLE, 0, 0) == TAKEN ? WRONG_DIGEST : STORAGE_FAILED;
    }
    return moved(self, TRIAL, TRIAL_BOOTS, self->received);
}

update_refusal update_confirm(updater *self) {
    updater next = *self;
    uint64_t sequence = update_candidate(self);
    if (self->stage != TRIAL || sequence == 0) return WRONG_STAGE;
    next.active = (uint8_t)spare(self);
    next.stage = IDLE;
    next.boots = 0;
    next.received = 0;
    if (sequence > next.floor) next.floor = sequence;
    return stored(self, &next);
}

update_refusal update_rollback(updater *self) { return self->stage == TRIAL ? moved(self, IDLE, 0, 0) : WRONG_STAGE; }

uint64_t update_candidate(const updater *self) {
    return self->stage == IDLE || self->envelope_count == 0 ? 0 : get_le(self->envelope + AT_SEQUENCE, 8);
}
