// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {TokenRoles} from "./TokenRoles.sol";

/// @title What was done to an asset, as a chain of hashes: entries can be added, never changed or left out.
/// @notice
///     head after an entry = keccak256(abi.encode(head before, tokenId, entry)), beginning with the zero hash
/// The entries themselves are in the events, the documents they name are kept by whoever wrote them; one word here
/// proves all of them.
abstract contract MaintenanceLog is TokenRoles {
    /// @notice What was done.
    enum Work {
        INSPECTION,
        CLEANING,
        REPAIR,
        REPLACEMENT,
        CALIBRATION,
        SOFTWARE,
        OTHER
    }

    /// @notice One entry: when it was written, what was done, the hash of the report, who wrote it.
    struct Entry {
        uint64 atS;
        Work work;
        bytes32 contentHash;
        address author;
    }

    struct Log {
        bytes32 head;
        uint64 count;
    }

    /// @notice An entry was added; `head` stands for the log up to and with it.
    event MaintenanceLogged(uint256 indexed tokenId, uint64 indexed number, bytes32 head, Entry entry);

    mapping(uint256 tokenId => Log log) private _logs;

    /// @notice Adds an entry about a report with that hash. By a `MAINTAINER` of the asset.
    function logMaintenance(uint256 tokenId, Work work, bytes32 contentHash) external returns (bytes32 head) {
        _requireTokenRole(tokenId, Role.MAINTAINER);
        Log memory log = _logs[tokenId];
        Entry memory entry = Entry(uint64(block.timestamp), work, contentHash, msg.sender);
        head = _headAfter(log.head, tokenId, entry);
        _logs[tokenId] = Log(head, log.count + 1);
        emit MaintenanceLogged(tokenId, log.count, head, entry);
    }

    /// @notice What stands for the whole log of an asset, and how many entries it has.
    function maintenanceHead(uint256 tokenId) external view returns (bytes32 head, uint64 count) {
        Log memory log = _logs[tokenId];
        return (log.head, log.count);
    }

    /// @notice Whether these are all entries of the log of an asset, in their order.
    function verifyMaintenance(uint256 tokenId, Entry[] calldata entries) external view returns (bool) {
        bytes32 head;
        for (uint256 i = 0; i < entries.length; i++) {
            head = _headAfter(head, tokenId, entries[i]);
        }
        return head == _logs[tokenId].head;
    }

    function _headAfter(bytes32 head, uint256 tokenId, Entry memory entry) private pure returns (bytes32) {
        return keccak256(abi.encode(head, tokenId, entry));
    }
}
