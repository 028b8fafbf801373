// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IFinalHeaders} from "../interfaces/IFinalHeaders.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {MeterProofs} from "../libraries/MeterProofs.sol";
import {SettledRegisters} from "../libraries/SettledRegisters.sol";
import {TokenRoles} from "./TokenRoles.sol";

/// @title What an asset has produced, proven by the export register of its account in final headers.
/// @notice
///     checkpoint   the register at the end of an interval, from the meter leaf of the header that settled it
///     produced     what the register moved since the first checkpoint
/// The first checkpoint of an account only says where its register stood, and nothing before it is ever counted; so it
/// is the owner's or operator's to choose, though not before what another asset there had proven. All later ones are anybody's. Intervals only grow: a checkpoint can be
/// skipped, which loses no energy, but not be put between others. Production is what was exported, not what was
/// used in the home itself: that is what the settlement knows.
abstract contract ProductionHistory is TokenRoles {
    /// @notice The register of the account at the end of `interval`, and all that the asset had produced by then.
    struct Checkpoint {
        uint40 interval;
        uint32 account;
        uint64 registerWh;
        uint64 producedWh;
    }

    uint256 private constant INTERVAL_S = 900;

    /// @notice A checkpoint was stored. Where `opens` the register had not been known before.
    event ProductionProven(
        uint256 indexed tokenId, uint64 indexed interval, uint64 registerWh, uint64 producedWh, bool opens
    );

    /// @notice The interval is not later than that of the last checkpoint, or before what was proven for another asset.
    error NotLater(uint64 interval);
    /// @notice The interval was over before the asset was commissioned.
    error BeforeCommissioning(uint64 interval);
    /// @notice The register shows less than at the last checkpoint.
    error RanBackwards(uint64 registerWh);
    /// @notice There is no checkpoint up to that interval.
    error NoCheckpoint(uint256 tokenId, uint64 interval);

    /// @notice The settlement whose headers count.
    IFinalHeaders public immutable settlement;

    mapping(uint256 tokenId => Checkpoint[] checkpoints) private _history;
    mapping(uint256 tokenId => uint256 index) private _openFrom;
    /// @dev Up to where an account's register was proven for an asset that left it.
    mapping(uint32 account => uint40 interval) private _provenUpTo;

    constructor(IFinalHeaders settlement_) {
        settlement = settlement_;
    }

    /// @notice Stores what the export register of the asset's account showed, by a final header. By anybody; where it
    /// would be the first of its account, by the owner or an `OPERATOR`.
    function proveProduction(
        uint256 tokenId,
        ISettlement.HeaderProof calldata header,
        MeterProofs.MeterProof calldata meter
    ) external {
        (uint32 account, uint64 commissionedAtS) = _meteredAt(tokenId);
        (uint64 interval,, uint64 registerWh) = SettledRegisters.prove(settlement, account, header, meter);
        Checkpoint[] storage history = _history[tokenId];
        bool opens = history.length == _openFrom[tokenId];
        uint64 producedWh;
        if (history.length != 0) {
            Checkpoint memory last = history[history.length - 1];
            if (interval <= last.interval) revert NotLater(interval);
            if (!opens && registerWh < last.registerWh) revert RanBackwards(registerWh);
            producedWh = last.producedWh + (opens ? 0 : registerWh - last.registerWh);
        }
        if (opens) {
            _requireOwnerOr(tokenId, Role.OPERATOR);
            if (interval < _provenUpTo[account]) revert NotLater(interval);
        }
        if ((uint256(interval) + 1) * INTERVAL_S < commissionedAtS) revert BeforeCommissioning(interval);

        history.push(Checkpoint(uint40(interval), account, registerWh, producedWh));

        emit ProductionProven(tokenId, interval, registerWh, producedWh, opens);
    }

    /// @notice Wh that the asset produced between the last checkpoint up to `fromInterval` and the last one up to
    /// `toInterval`, and the intervals of these two, after whose ends the registers were read.
    function productionBetween(uint256 tokenId, uint64 fromInterval, uint64 toInterval)
        external
        view
        returns (uint64 producedWh, uint64 provenFrom, uint64 provenTo)
    {
        Checkpoint memory start = _lastUpTo(tokenId, fromInterval);
        Checkpoint memory end = _lastUpTo(tokenId, toInterval);
        if (end.interval < start.interval) revert NoCheckpoint(tokenId, toInterval);
        return (end.producedWh - start.producedWh, start.interval, end.interval);
    }

    /// @notice Number of checkpoints of an asset.
    function checkpointCount(uint256 tokenId) external view returns (uint256) {
        return _history[tokenId].length;
    }

    /// @notice The checkpoint of an asset at `index`, the oldest first.
    function checkpointAt(uint256 tokenId, uint256 index) external view returns (Checkpoint memory) {
        return _history[tokenId][index];
    }

    /// @dev The account whose export is the asset's production, and when that began. Reverts where there is no asset.
    function _meteredAt(uint256 tokenId) internal view virtual returns (uint32 account, uint64 commissionedAtS);

    /// @dev The register is no longer the asset's: the next checkpoint opens another, and whatever asset comes to this
    /// one does not begin before the last checkpoint, lest the same production be shown twice.
    function _closeRegister(uint256 tokenId) internal {
        Checkpoint[] storage history = _history[tokenId];
        uint256 count = history.length;
        if (count == _openFrom[tokenId]) return;
        _openFrom[tokenId] = count;
        _provenUpTo[history[count - 1].account] = history[count - 1].interval;
    }

    function _lastUpTo(uint256 tokenId, uint64 interval) private view returns (Checkpoint memory) {
        Checkpoint[] storage history = _history[tokenId];
        uint256 low = 0;
        uint256 high = history.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (history[middle].interval <= interval) low = middle + 1;
            else high = middle;
        }
        if (low == 0) revert NoCheckpoint(tokenId, interval);
        return history[low - 1];
    }
}
