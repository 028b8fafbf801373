/* Host port: records and slots as files of one folder, with a planted power cut for tests. */
#ifndef EG_FOLDER_STORE_H
#define EG_FOLDER_STORE_H

#include "storage.h"

typedef struct {
    const char *folder;
    long writes_left; /* before the power goes in the middle of a write; negative: never */
} folder_store;

storage folder_storage(folder_store *place);

#endif
