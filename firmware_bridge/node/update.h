/* Two slots, one of which always boots. The state table stands in update.py, the layouts in NODE.md. */
#ifndef EG_UPDATE_H
#define EG_UPDATE_H

#include "secp256k1.h"
#include "storage.h"

#define MANIFEST_BYTES 132u
#define KEY_ID_BYTES 8u
#define SIGNERS_LIMIT 8u
#define ENVELOPE_LIMIT (MANIFEST_BYTES + 1u + SIGNERS_LIMIT * (KEY_ID_BYTES + SIGNATURE_BYTES))
#define ENVELOPE_ROOM 1024u
#define CHECKPOINT_BYTES 4096u
#define TRIAL_BOOTS 3u
#define UPDATE_RECORD_BYTES 24u

typedef enum {
    TAKEN = 0,
    MALFORMED,
    WRONG_VENDOR,
    WRONG_CLASS,
    WRONG_DEVICE,
    OLD_SEQUENCE,
    WRONG_PRECURSOR,
    OVERSIZED,
    CLOCK_UNKNOWN,
    EXPIRED,
    UNKNOWN_SIGNER,
    TOO_FEW_SIGNERS,
    BAD_SIGNATURE,
    WRONG_STAGE,
    WRONG_OFFSET,
    WRONG_SIZE,
    WRONG_DIGEST,
    STORAGE_FAILED
} update_refusal;

typedef enum { IDLE = 0, RECEIVING, READY, TRIAL } update_stage;

typedef struct {
    uint8_t vendor_id[16], class_id[16], device_id[16];
    const uint8_t (*signers)[PUBLIC_BYTES];
    unsigned signer_count, threshold;
    uint32_t capacity;
} update_trust;

typedef struct {
    const storage *store;
    const update_trust *trust;
    uint32_t generation, received;
    uint64_t floor;
    uint8_t active, stage, boots;
    uint8_t envelope[ENVELOPE_LIMIT]; /* of the spare slot while an update is under way */
    size_t envelope_count;
} updater;

void update_open(updater *self, const storage *store, const update_trust *trust);
/* The slot to run; asked once a start, by the boot loader. */
unsigned update_boot(updater *self);
/* now_s 0: the node has no time. */
update_refusal update_begin(updater *self, const uint8_t *envelope, size_t count, uint64_t now_s);
update_refusal update_receive(updater *self, uint32_t offset, const uint8_t *part, size_t count);
update_refusal update_complete(updater *self);
update_refusal update_switch(updater *self, uint64_t now_s);
update_refusal update_confirm(updater *self);
update_refusal update_rollback(updater *self);
/* Sequence of the envelope under way, 0 for none. */
uint64_t update_candidate(const updater *self);

#endif
