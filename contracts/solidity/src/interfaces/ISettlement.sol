// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Messages} from "../libraries/Messages.sol";

/// @title The money core: accounts, one header per interval, bond, withdrawals.
/// @notice The operator posts the hash of one header per interval. Whoever finds a lie in it proves it with one or a
/// few Merkle paths to one of four challenge contracts while the header is not final, and they have it voided here;
/// money leaves only against final balances. Amounts are in nano-currency; one nano is `tokenUnitsPerNano` base units
/// of the token. The token must move exactly what it is asked to move: no fee on transfer, no rebasing.
interface ISettlement {
    /// @notice What a deployment fixes for good.
    /// @dev `gateLeads`: intervals between closing and delivery of quarter-hours (lowest 16 bits), hours, days, weeks.
    /// `releaseAfterS`: after so long without a header the reserves are released, at least a day.
    struct Terms {
        uint64 finalityWindowS;
        uint64 graceIntervals;
        uint64 gateLeads;
        uint8 spotRule;
        uint64 releaseAfterS;
        uint256 minimumBondNano;
    }

    /// @notice A posted header: what was hashed, and where it stands.
    struct HeaderProof {
        Messages.Header header;
        uint256 index;
    }

    /// @notice What a challenge refuted.
    enum Lie {
        NodeSum,
        Leaf,
        Auction,
        Totals,
        Fill,
        Signature,
        Balance,
        Standing,
        Order,
        Round,
        Fork,
        Carry,
        Receipt,
        Forced,
        Closing,
        Reading,
        Register,
        Contracted,
        Reserve,
        Commitment,
        Withheld
    }

    /// @notice An account was opened for `owner`, whose home signs with `key`.
    event AccountOpened(uint32 indexed account, address indexed owner, address indexed key);
    /// @notice `from` paid `amountNano` into `account`.
    event Deposited(uint32 indexed account, address indexed from, uint256 amountNano);
    /// @notice `owner` took `amountNano` out of `account`.
    event Withdrawn(uint32 indexed account, address indexed owner, uint256 amountNano);
    /// @notice A header was posted. Challenges bring `header` and `index`.
    event HeaderPosted(uint256 indexed index, bytes32 indexed digest, uint64 postedAt, Messages.Header header);
    /// @notice The header and all before it are final.
    event Finalised(uint256 indexed index, bytes32 indexed digest);
    /// @notice A challenge was won: this header and all later ones are void. `fault` is the number of the fault in
    /// the enum that belongs to `reason`; the challenge contracts say which.
    event Voided(uint256 indexed index, address indexed challenger, Lie reason, uint8 fault);
    /// @notice Posting and deposits are stopped. Challenges, finalising and withdrawing never are.
    event Halted();
    /// @notice Posting goes on, by `coordinator`.
    event Restarted(address indexed coordinator);
    /// @notice The bond grew by `amountNano`.
    event BondPosted(address indexed from, uint256 amountNano);
    /// @notice The bond shrank by `amountNano`.
    event BondReleased(uint256 amountNano);
    /// @notice `amountNano` of the compensation fund was credited to `account`.
    event Compensated(uint32 indexed account, uint256 amountNano);
    /// @notice The contract that records forced bids is known.
    event TradingSet(address indexed trading);
    /// @notice The contracts that may void are known; posting and deposits begin.
    event ChallengesSet(address[4] challenges);
    /// @notice Headers must carry these tariffs from now on.
    event TariffsSet(int64 tariffImport, int64 tariffExport);
    /// @notice Posting is bounded by this contract from now on; zero for no bounds.
    event BoundsSet(address indexed bounds);
    /// @notice At most so much leaves on a UTC day from now on; zero for any amount.
    event OutflowCapSet(uint64 outflowCapNano);
    /// @notice This address may halt; zero for nobody but governance.
    event GuardianSet(address indexed guardian);

    /// @notice The caller does not hold the role that this needs.
    error NotAuthorised();
    /// @notice An address that must not be zero is zero.
    error ZeroAddress();
    /// @notice The token has fewer than nine decimals.
    error TooFewDecimals(uint8 decimals);
    /// @notice The owner has an account already.
    error AlreadyOpened(address owner);
    /// @notice All account numbers are taken.
    error AccountsFull();
    /// @notice No account has that number.
    error UnknownAccount(uint32 account);
    /// @notice The address owns no account.
    error UnknownOwner(address owner);
    /// @notice Posting and deposits are stopped.
    error IsHalted();
    /// @notice This needs posting to be stopped.
    error NotHalted();
    /// @notice The bond is below its minimum.
    error BondTooSmall(uint256 bondNano);
    /// @notice More is asked of the bond, or of the fund, than is free.
    error ExceedsFree(uint256 freeNano);
    /// @notice The header does not continue the chain.
    error NotAfterTip(bytes32 tipDigest);
    /// @notice The header is not of the interval after the tip's.
    error WrongInterval(uint64 interval);
    /// @notice The interval is not over.
    error IntervalNotOver(uint64 interval);
    /// @notice No such header stands at that index.
    error UnknownHeader(uint256 index);
    /// @notice The header is final: no challenge, no second finalising.
    error AlreadyFinal(uint256 index);
    /// @notice The header may still be challenged.
    error StillChallengeable(uint256 untilS);
    /// @notice The header is not final.
    error NotFinal(uint256 index);
    /// @notice The leaf is not in the final balances.
    error NotInTree();
    /// @notice The account's final cash is smaller than what is asked.
    error ExceedsCash(int256 cashNano);
    /// @notice Accounts in debt have not paid yet: less is pooled than is asked.
    error PoolShort(uint256 pooledNano);
    /// @notice The day's outflow cap leaves less than is asked; the rest is free from `nextDayS` on.
    error ExceedsOutflow(uint256 freeNano, uint256 nextDayS);
    /// @notice The trading contract was set before.
    error TradingAlreadySet();
    /// @notice The challenge contracts were set before.
    error ChallengesAlreadySet();
    /// @notice The challenge contracts are not set.
    error ChallengesNotSet();
    /// @notice A deployment's terms cannot work: no spot rule, or reserves released too soon.
    error WrongTerms();
    /// @notice The tariffs are beyond what a price may be, or export is dearer than import.
    error WrongTariffs(int64 tariffImport, int64 tariffExport);
    /// @notice The header does not carry governance's tariffs.
    error NotTheTariffs(int64 tariffImport, int64 tariffExport);
    /// @notice The spot price lies outside the tariffs, or outside the collar of the bounds.
    error PriceOutOfBounds(int64 lowest, int64 highest);
    /// @notice The volume exceeds the limit of the bounds.
    error VolumeOutOfBounds(uint64 limitWh);
    /// @notice The bounds are closed for posting.
    error PostingClosed();

    /// @notice The token of all amounts.
    function token() external view returns (address);
    /// @notice Who restarts, compensates, sets tariffs, bounds and cap, and owns account 0, the supplier's.
    function governance() external view returns (address);
    /// @notice Who opens accounts.
    function registrar() external view returns (address);
    /// @notice Who posts headers.
    function coordinator() external view returns (address);
    /// @notice Who may halt besides governance; zero for nobody.
    function guardian() external view returns (address);
    /// @notice The contract that records forced bids; zero until it is set.
    function trading() external view returns (address);
    /// @notice The four contracts that may void a header; zero until they are set.
    function challenges(uint256 place) external view returns (address);
    /// @notice The contract whose bounds a header must keep; zero for none.
    function bounds() external view returns (address);
    /// @notice How long a header may be challenged.
    function finalityWindowS() external view returns (uint64);
    /// @notice How many intervals after delivery an interval is settled.
    function graceIntervals() external view returns (uint64);
    /// @notice Intervals between closing and delivery: 16 bits each for quarter-hours (lowest), hours, days and weeks.
    function gateLeads() external view returns (uint64);
    /// @notice The rule of every spot round.
    function spotRule() external view returns (uint8);
    /// @notice After so long without a header reserves no longer count.
    function releaseAfterS() external view returns (uint64);
    /// @notice The bond without which nothing is posted.
    function minimumBondNano() external view returns (uint256);
    /// @notice Base units of the token in one nano-currency.
    function tokenUnitsPerNano() external view returns (uint256);
    /// @notice EIP-712 domain separator of this contract.
    function domainSeparator() external view returns (bytes32);

    /// @notice Opens the next account for `owner`, whose home signs with `key`. By the registrar. Both are fixed: a new
    /// key is a new account, or bids signed before the change would look forged.
    function openAccount(address owner, address key) external returns (uint32 account);
    /// @notice Number of accounts, the supplier's included.
    function accountCount() external view returns (uint32);
    /// @notice The account of `owner`. Reverts where there is none.
    function accountOf(address owner) external view returns (uint32);
    /// @notice The owner of `account`; zero where there is none.
    function ownerOf(uint32 account) external view returns (address);
    /// @notice The key of the home of `account`; zero where there is none.
    function keyOf(uint32 account) external view returns (address);
    /// @notice All that was ever paid into `account`, compensation included.
    function depositedNano(uint32 account) external view returns (uint256);
    /// @notice All that was ever taken out of `account`.
    function withdrawnNano(uint32 account) external view returns (uint256);
    /// @notice Deposits less withdrawals of all accounts.
    function pooledNano() external view returns (uint256);
    /// @notice Pays into `account`, from the caller's token allowance. A halt stops everybody but the trading contract.
    function deposit(uint32 account, uint256 amountNano) external;

    /// @notice What the operator loses half of to a challenger.
    function bondNano() external view returns (uint256);
    /// @notice What lost bonds have left for compensation.
    function fundNano() external view returns (uint256);
    /// @notice Adds to the bond, from the caller's token allowance.
    function postBond(uint256 amountNano) external;
    /// @notice Pays bond back to governance: what exceeds the minimum, or all while every header is final.
    function releaseBond(uint256 amountNano) external;
    /// @notice Credits `account` from the compensation fund. By governance.
    function compensate(uint32 account, uint256 amountNano) external;
    /// @notice Stops posting and deposits, at once. By governance or the guardian.
    function halt() external;
    /// @notice Lets `newCoordinator` post again after adding `amountNano` of the caller's to the bond. By governance.
    function restart(uint256 amountNano, address newCoordinator) external;
    /// @notice Names the contract that records forced bids; once. By governance.
    function setTrading(address newTrading) external;
    /// @notice Names the four contracts that may void; once. Until then posting and deposits are stopped. By governance.
    function setChallenges(address[4] calldata newChallenges) external;
    /// @notice Names who may halt besides governance. By governance.
    function setGuardian(address newGuardian) external;
    /// @notice Sets the tariffs that every header must carry from now on. By governance.
    function setTariffs(int64 newImport, int64 newExport) external;
    /// @notice Names the contract that bounds posting, zero for none. By governance.
    function setBounds(address newBounds) external;
    /// @notice Sets what may leave on a UTC day, zero for any amount. By governance.
    /// @dev A cap delays and never confiscates: what it refuses is free the next day, a thirtieth of the pool is free
    /// on any day, and no cap holds once reserves are released.
    function setOutflowCap(uint64 newCapNano) external;

    /// @notice Posts the next header. By the coordinator; gas does not depend on the number of accounts.
    function post(Messages.Header calldata header) external returns (uint256 index);
    /// @notice Makes a header and all before it final once its challenge window is over. By anyone, never stopped.
    function finalise(HeaderProof calldata proof) external;
    /// @notice Voids a header that is not final and all later ones, halts, pays half of the bond to `challenger` and the
    /// other half into the fund. By the challenge contracts, never stopped.
    function voidHeader(HeaderProof calldata proof, address challenger, Lie reason, uint8 fault) external;
    /// @notice Reverts unless the header is posted, not void and not final.
    function requireOpen(HeaderProof calldata proof) external view;
    /// @notice Reverts unless the header is posted and not void.
    function requirePosted(HeaderProof calldata proof) external view;
    /// @notice Reverts unless the header is final.
    function requireFinal(HeaderProof calldata proof) external view;
    /// @notice When the header at `index` was posted. Reverts where none stands.
    function postedAt(uint256 index) external view returns (uint64);
    /// @notice The tariffs that a header must carry.
    function tariffs() external view returns (int64 tariffImport, int64 tariffExport);
    /// @notice Number of posted headers that are not void.
    function headerCount() external view returns (uint256);
    /// @notice Number of final headers.
    function finalisedCount() external view returns (uint256);
    /// @notice Digest of the last header; zero where there is none.
    function tipDigest() external view returns (bytes32);
    /// @notice Interval of the last header.
    function tipInterval() external view returns (uint64);
    /// @notice When a header was last posted; the deployment where none was.
    function lastPostedAt() external view returns (uint64);
    /// @notice Whether posting and deposits are stopped.
    function halted() external view returns (bool);
    /// @notice The header at `index`: the upper 216 bits of its digest, then 40 bits of when it was posted. Beyond
    /// `headerCount` it is void.
    function commitments(uint256 index) external view returns (bytes32);
    /// @notice Commitment of the balances tree of the last final header; zero where there is none.
    function finalBalancesRoot() external view returns (bytes32);

    /// @notice Most that may leave on a UTC day, zero for any amount.
    function outflowCapNano() external view returns (uint64);
    /// @notice What the cap leaves of this UTC day; all where there is none.
    function outflowFreeNano() external view returns (uint256);
    /// @notice Whether no header came for `releaseAfterS` and all are final: reserves and the cap no longer count.
    function isReleased() external view returns (bool);
    /// @notice Takes cash out of an account: deposited - withdrawn + cumulative - reserved, by the final balances. By
    /// its owner, never stopped.
    function withdraw(uint32 account, uint256 amountNano, Messages.BalanceLeaf calldata leaf, bytes calldata path)
        external;
}
