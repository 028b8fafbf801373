#define _POSIX_C_SOURCE 200809L
#include "folder_store.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define POWER_CUT 9

static int opened(const folder_store *place, const char *kind, unsigned number, int flags) {
    char path[512];
    int length = snprintf(path, sizeof path, "%s/%s%u", place->folder, kind, number);
    return length < 0 || (size_t)length >= sizeof path ? -1 : open(path, flags, 0600);
}

static bool written(folder_store *place, int file, const uint8_t *from, size_t count) {
    bool is_done;
    if (file < 0) return false;
    if (place->writes_left == 0) {
        ssize_t torn = write(file, from, count / 2);
        (void)torn;
        _exit(POWER_CUT);
    }
    if (place->writes_left > 0) place->writes_left--;
    is_done = write(file, from, count) == (ssize_t)count && fsync(file) == 0;
    close(file);
    return is_done;
}

static size_t read_record(void *context, unsigned record, uint8_t *to, size_t room) {
    int file = opened(context, "record", record, O_RDONLY);
    ssize_t count = file < 0 ? 0 : read(file, to, room);
    if (file >= 0) close(file);
    return count < 0 ? 0 : (size_t)count;
}

static bool write_record(void *context, unsigned record, const uint8_t *from, size_t count) {
    return written(context, opened(context, "record", record, O_WRONLY | O_CREAT | O_TRUNC), from, count);
}

static bool erase_slot(void *context, unsigned slot) {
    return written(context, opened(context, "slot", slot, O_WRONLY | O_CREAT | O_TRUNC), NULL, 0);
}

static bool write_slot(void *context, unsigned slot, uint32_t offset, const uint8_t *from, size_t count) {
    int file = opened(context, "slot", slot, O_WRONLY | O_CREAT);
    if (file >= 0 && lseek(file, (off_t)offset, SEEK_SET) < 0) {
        close(file);
        file = -1;
    }
    return written(context, file, from, count);
}

static size_t read_slot(void *context, unsigned slot, uint32_t offset, uint8_t *to, size_t count) {
    int file = opened(context, "slot", slot, O_RDONLY);
    ssize_t found = 0;
    if (file < 0) return 0;
    if (lseek(file, (off_t)offset, SEEK_SET) >= 0) found = read(file, to, count);
    close(file);
    return found < 0 ? 0 : (size_t)found;
}

storage folder_storage(folder_store *place) {
    storage store = {place, read_record, write_record, erase_slot, write_slot, read_slot};
    return store;
}
