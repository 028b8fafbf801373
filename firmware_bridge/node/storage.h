/* What a node keeps over a power cut: four small records and two firmware slots. All calls are the port's. */
#ifndef EG_STORAGE_H
#define EG_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RECORD_UPDATE = 0, RECORD_LEASE = 2 }; /* each has two copies: RECORD_x and RECORD_x + 1 */

typedef struct {
    void *context;
    /* Bytes read, 0 for a record that was never written. */
    size_t (*read_record)(void *context, unsigned record, uint8_t *to, size_t room);
    /* Durable when it returns true. */
    bool (*write_record)(void *context, unsigned record, const uint8_t *from, size_t count);
    bool (*erase_slot)(void *context, unsigned slot);
    bool (*write_slot)(void *context, unsigned slot, uint32_t offset, const uint8_t *from, size_t count);
    size_t (*read_slot)(void *context, unsigned slot, uint32_t offset, uint8_t *to, size_t count);
} storage;

#endif
