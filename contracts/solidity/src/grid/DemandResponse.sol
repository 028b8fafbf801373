// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IFinalHeaders} from "../interfaces/IFinalHeaders.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {MeterProofs} from "../libraries/MeterProofs.sol";
import {SettledRegisters} from "../libraries/SettledRegisters.sol";
import {Feeders} from "./Feeders.sol";

/// @title Demand-response events: flexibility that is paid for by what final headers prove was delivered.
/// @notice
///     coordinator   createEvent: feeder, intervals, direction, price; the budget is paid in
///     coordinator   enrol, before the event begins: accounts, each with a baseline and a cap
///     anybody       claimReward, once the headers are final: registers before and at the end of the event
///                   delivered = baseline − metered (reduce) or metered − baseline (increase), in [0, cap]
///                   metered   = what was imported − what was exported in the event
///     anybody       returnBudget, after the claim period: what is unspent goes back to who paid it
/// The caps at their price never exceed the budget, so every reward is covered and no claim races another. No account
/// is enrolled twice for one interval: the same Wh is never sold twice.
/// @dev Registers count only with the reading taken at that very interval's end: a home that keeps its readings back
/// keeps its old registers in the header, which would look like energy it did not use.
abstract contract DemandResponse is Feeders {
    using SafeERC20 for IERC20;

    /// @notice What an event asks for: less net import, or more.
    enum Direction {
        Reduce,
        Increase
    }

    /// @notice An event. Energies in Wh, money in nano-currency.
    struct FlexibilityEvent {
        address funder;
        uint40 firstInterval;
        uint8 intervals;
        Direction direction;
        bool returned;
        uint32 feeder;
        uint64 priceNanoPerWh;
        uint128 reservedNano;
        uint128 budgetNano;
        uint128 spentNano;
    }

    /// @notice What the coordinator offers an account: net import expected over the whole event, and the most energy
    /// that is paid for.
    struct Offer {
        uint32 account;
        int64 baselineWh;
        uint64 capWh;
    }

    /// @notice An account's part in an event. `deliveredWh` is 0 until it is claimed.
    struct Enrolment {
        int64 baselineWh;
        uint64 capWh;
        uint64 deliveredWh;
        bool enrolled;
        bool claimed;
    }

    /// @notice Registers at the end of one interval: the final header that settles it, the account's meter leaf there,
    /// and the reading behind the leaf.
    struct RegisterProof {
        ISettlement.HeaderProof header;
        MeterProofs.MeterProof meter;
        SettledRegisters.ReadingEvidence evidence;
    }

    uint256 private constant INTERVAL_S = 900;

    /// @notice Longest event: a day. The bits of its intervals fit two words.
    uint256 public constant MAX_INTERVALS = 96;

    /// @notice How far ahead an event may begin: a slip in a number must not lock a budget up for years.
    uint256 public constant MAX_AHEAD_S = 35 days;

    /// @notice Shortest claim period: headers need grace and finality first, and people need time.
    uint256 public constant MIN_CLAIM_PERIOD_S = 7 days;

    /// @notice An event was created and its budget paid in.
    event EventCreated(uint256 indexed id, uint32 indexed feeder, address indexed funder, FlexibilityEvent terms);
    /// @notice An account takes part in an event.
    event Enrolled(uint256 indexed id, uint32 indexed account, int64 baselineWh, uint64 capWh);
    /// @notice What an account delivered in an event is proven, and paid to its owner.
    event RewardPaid(
        uint256 indexed id, uint32 indexed account, address indexed owner, uint64 deliveredWh, uint256 rewardNano
    );
    /// @notice What an event did not spend went back to who paid it.
    event BudgetReturned(uint256 indexed id, address indexed funder, uint256 amountNano);

    /// @notice The claim period is too short.
    error ClaimPeriodTooShort();
    /// @notice No intervals or too many, no price or no budget.
    error EventIllegal();
    /// @notice The event has begun, or begins too far ahead.
    error BeginsOutsideWindow(uint256 firstInterval);
    /// @notice There is no such event.
    error UnknownEvent(uint256 id);
    /// @notice Only who pays for an event enrols for it.
    error NotTheFunder();
    /// @notice The event has begun: baselines are no longer taken.
    error HasBegun(uint256 id);
    /// @notice The settlement has no such account, or nothing is asked of it.
    error OfferIllegal(uint32 account);
    /// @notice The account is enrolled for one of these intervals already.
    error EngagedAlready(uint32 account);
    /// @notice The caps at their price exceed the budget.
    error BudgetTooSmall(uint256 neededNano);
    /// @notice The account takes no part in the event.
    error NotEnrolled(uint32 account);
    /// @notice The account had its reward.
    error AlreadyClaimed(uint32 account);
    /// @notice The header settles another interval than the one that is asked for.
    error SettlesAnother(uint64 interval);
    /// @notice The registers ran backwards during the event.
    error RegistersRanBackwards();
    /// @notice Rewards of the event may still be claimed.
    error StillClaimable(uint256 untilS);
    /// @notice The budget went back to who paid it.
    error AlreadyReturned(uint256 id);

    /// @notice The settlement whose final headers prove what was delivered.
    IFinalHeaders public immutable settlement;
    /// @notice The token of budgets and rewards: the settlement's.
    IERC20 public immutable token;
    /// @notice How long after its end the rewards of an event may surely be claimed.
    uint256 public immutable claimPeriodS;
    uint256 private immutable _tokenUnitsPerNano;

    /// @notice Number of events; they are counted from 0.
    uint256 public eventCount;
    mapping(uint256 id => FlexibilityEvent) private _events;
    mapping(uint256 id => mapping(uint32 account => Enrolment)) private _enrolments;
    /// @dev Bit i of word w: the account is enrolled for interval 256·w + i.
    mapping(uint32 account => mapping(uint256 word => uint256)) private _engaged;

    constructor(IFinalHeaders settlement_, uint256 claimPeriodS_) {
        if (claimPeriodS_ < MIN_CLAIM_PERIOD_S) revert ClaimPeriodTooShort();
        settlement = settlement_;
        token = IERC20(settlement_.token());
        claimPeriodS = claimPeriodS_;
        _tokenUnitsPerNano = settlement_.tokenUnitsPerNano();
    }

    /// @notice Creates an event at a feeder over `intervals` intervals from `firstInterval` and pays its budget in,
    /// from the caller's token allowance. Restricted.
    function createEvent(
        uint32 feeder,
        uint64 firstInterval,
        uint8 intervals,
        Direction direction,
        uint64 priceNanoPerWh,
        uint128 budgetNano
    ) external restricted returns (uint256 id) {
        feederOf(feeder);
        if (intervals == 0 || intervals > MAX_INTERVALS || priceNanoPerWh == 0 || budgetNano == 0) {
            revert EventIllegal();
        }
        uint256 beginsAtS = firstInterval * INTERVAL_S;
        if (beginsAtS <= block.timestamp || beginsAtS > block.timestamp + MAX_AHEAD_S) {
            revert BeginsOutsideWindow(firstInterval);
        }

        id = eventCount++;
        FlexibilityEvent storage flexibility = _events[id];
        flexibility.funder = msg.sender;
        // Casting: the event begins within weeks.
        flexibility.firstInterval = uint40(firstInterval);
        flexibility.intervals = intervals;
        flexibility.direction = direction;
        flexibility.feeder = feeder;
        flexibility.priceNanoPerWh = priceNanoPerWh;
        flexibility.budgetNano = budgetNano;
        emit EventCreated(id, feeder, msg.sender, flexibility);
        token.safeTransferFrom(msg.sender, address(this), budgetNano * _tokenUnitsPerNano);
    }

    /// @notice Enrols accounts for an event before it begins. Restricted, and only by who pays for the event.
    function enrol(uint256 id, Offer[] calldata offers) external restricted {
        FlexibilityEvent storage flexibility = _event(id);
        if (msg.sender != flexibility.funder) revert NotTheFunder();
        uint256 first = flexibility.firstInterval;
        if (block.timestamp >= first * INTERVAL_S) revert HasBegun(id);

        uint256 reservedNano = flexibility.reservedNano;
        for (uint256 i = 0; i < offers.length; i++) {
            Offer calldata offer = offers[i];
            if (offer.capWh == 0 || settlement.ownerOf(offer.account) == address(0)) {
                revert OfferIllegal(offer.account);
            }
            _engage(offer.account, first, flexibility.intervals);
            reservedNano += uint256(offer.capWh) * flexibility.priceNanoPerWh;
            _enrolments[id][offer.account] = Enrolment(offer.baselineWh, offer.capWh, 0, true, false);
            emit Enrolled(id, offer.account, offer.baselineWh, offer.capWh);
        }
        if (reservedNano > flexibility.budgetNano) revert BudgetTooSmall(reservedNano);
        // Casting: it does not exceed the budget.
        flexibility.reservedNano = uint128(reservedNano);
    }

    /// @notice Pays an account's owner for what the account delivered in an event. By anybody, once an account.
    /// `opening` proves the registers at the end of the interval before the event, `closing` those at its end.
    function claimReward(uint256 id, uint32 account, RegisterProof calldata opening, RegisterProof calldata closing)
        external
        returns (uint256 rewardNano)
    {
        FlexibilityEvent storage flexibility = _event(id);
        Enrolment storage enrolment = _enrolments[id][account];
        if (flexibility.returned) revert AlreadyReturned(id);
        if (!enrolment.enrolled) revert NotEnrolled(account);
        if (enrolment.claimed) revert AlreadyClaimed(account);

        uint64 first = flexibility.firstInterval;
        int256 meteredWh = _meteredWh(account, opening, first - 1, closing, first + flexibility.intervals - 1);
        uint64 wh = _delivered(flexibility.direction, enrolment, meteredWh);
        rewardNano = uint256(wh) * flexibility.priceNanoPerWh;

        enrolment.claimed = true;
        enrolment.deliveredWh = wh;
        // Casting: all rewards together stay within the reserved part of the budget.
        flexibility.spentNano += uint128(rewardNano);
        address owner = settlement.ownerOf(account);
        emit RewardPaid(id, account, owner, wh, rewardNano);
        token.safeTransfer(owner, rewardNano * _tokenUnitsPerNano);
    }

    /// @notice Returns what an event did not spend to who paid it, after the claim period. By anybody. Until then, and
    /// until somebody calls this, rewards may be claimed.
    function returnBudget(uint256 id) external {
        FlexibilityEvent storage flexibility = _event(id);
        if (flexibility.returned) revert AlreadyReturned(id);
        uint256 untilS = claimableUntilS(id);
        if (block.timestamp < untilS) revert StillClaimable(untilS);
        uint256 amountNano = flexibility.budgetNano - flexibility.spentNano;

        flexibility.returned = true;
        emit BudgetReturned(id, flexibility.funder, amountNano);
        token.safeTransfer(flexibility.funder, amountNano * _tokenUnitsPerNano);
    }

    /// @notice The event with that number. Reverts where there is none.
    function eventOf(uint256 id) external view returns (FlexibilityEvent memory) {
        return _event(id);
    }

    /// @notice Wh of flexibility that are proven to have been delivered in an event so far.
    function deliveredWh(uint256 id) external view returns (uint256) {
        FlexibilityEvent storage flexibility = _event(id);
        // Exact: every reward is a number of Wh at this price.
        return flexibility.spentNano / flexibility.priceNanoPerWh;
    }

    /// @notice An account's part in an event, what it delivered included.
    function enrolmentOf(uint256 id, uint32 account) external view returns (Enrolment memory) {
        return _enrolments[id][account];
    }

    /// @notice Until when the rewards of an event may surely be claimed. Reverts where there is no such event.
    function claimableUntilS(uint256 id) public view returns (uint256) {
        FlexibilityEvent storage flexibility = _event(id);
        return (uint256(flexibility.firstInterval) + flexibility.intervals) * INTERVAL_S + claimPeriodS;
    }

    /// @dev Net import between the ends of two intervals.
    function _meteredWh(
        uint32 account,
        RegisterProof calldata opening,
        uint64 openingInterval,
        RegisterProof calldata closing,
        uint64 closingInterval
    ) private view returns (int256) {
        (uint256 importBefore, uint256 exportBefore) = _registersAt(openingInterval, account, opening);
        (uint256 importAfter, uint256 exportAfter) = _registersAt(closingInterval, account, closing);
        if (importAfter < importBefore || exportAfter < exportBefore) revert RegistersRanBackwards();
        // Casting: differences of registers of 64 bits.
        return int256(importAfter - importBefore) - int256(exportAfter - exportBefore);
    }

    function _registersAt(uint64 interval, uint32 account, RegisterProof calldata proof)
        private
        view
        returns (uint256, uint256)
    {
        (uint64 settled, uint64 importWh, uint64 exportWh) =
            SettledRegisters.prove(settlement, account, proof.header, proof.meter);
        if (settled != interval) revert SettlesAnother(settled);
        SettledRegisters.requireReadIn(interval, proof.meter.leaf.readingHash, proof.evidence);
        return (importWh, exportWh);
    }

    /// @dev Marks the intervals of an event as the account's. Reverts where one of them is marked.
    function _engage(uint32 account, uint256 first, uint256 intervals) private {
        uint256 bits = (1 << intervals) - 1;
        uint256 shift = first & 255;
        _mark(account, first >> 8, bits << shift);
        if (shift + intervals > 256) _mark(account, (first >> 8) + 1, bits >> (256 - shift));
    }

    function _mark(uint32 account, uint256 word, uint256 bits) private {
        uint256 engaged = _engaged[account][word];
        if (engaged & bits != 0) revert EngagedAlready(account);
        _engaged[account][word] = engaged | bits;
    }

    function _event(uint256 id) private view returns (FlexibilityEvent storage) {
        if (id >= eventCount) revert UnknownEvent(id);
        return _events[id];
    }

    function _delivered(Direction direction, Enrolment storage enrolment, int256 meteredWh)
        private
        view
        returns (uint64)
    {
        int256 baselineWh = enrolment.baselineWh;
        int256 wh = direction == Direction.Reduce ? baselineWh - meteredWh : meteredWh - baselineWh;
        if (wh <= 0) return 0;
        uint64 capWh = enrolment.capWh;
        // Casting: positive, and below the cap.
        return wh > int256(uint256(capWh)) ? capWh : uint64(uint256(wh));
    }
}
