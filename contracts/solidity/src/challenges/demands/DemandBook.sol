// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ISettlement} from "../../interfaces/ISettlement.sol";
import {LeakyBucket} from "../../libraries/LeakyBucket.sol";
import {Messages} from "../../libraries/Messages.sol";
import {Challenge} from "../Challenge.sol";

/// @notice What can be demanded of a header. The fault of a header that is void for an unanswered demand is the number
/// of the question + 1.
enum Question {
    Auction,
    Slot,
    Meter,
    Balance,
    Signature,
    Reading,
    Previous,
    Commitments,
    Cover,
    Round,
    Ordered
}

/// @title Who demanded what, until when, and what follows.
/// @notice
///     demand ──► answer, until `answerWindowS` later        fee to whoever answered
///        ├─────► challengeUnanswered, after that            header void, reward and fee to the demander
///        └─────► refund, where the header is void anyway    fee back
///
/// With A = `answerWindowS`: a header is asked about while its challenge window lasts 2 A longer, so that A remains for
/// the answer and A for the challenge. Anybody may demand, answer and challenge; the same demand may be made twice, for
/// two fees and two answers, and who demanded first is no obstacle to who demands next. The fee must be more than the
/// gas of an answer costs: it is what keeps demands from being a way to drain an honest operator.
/// @dev A demand is about the header that stood at its index when it was made: a header that is posted there anew is
/// another one even if it says the same.
abstract contract DemandBook is Challenge {
    using SafeERC20 for IERC20;

    /// @notice A demand that is open. `headerHash` is the header's struct hash, `subject` the hash of what is asked.
    struct Demand {
        bytes32 headerHash;
        bytes32 subject;
        address demander;
        uint40 deadlineS;
        uint40 headerIndex;
        Question question;
    }

    /// @dev What is demanded. In memory, because the optimiser would lay one copy of `_demand` out for every question
    /// that it is called with.
    struct Topic {
        Question question;
        bytes32 subjectHash;
        uint256 leaf;
        uint32 subject;
    }

    /// @dev What a deployment has that leaves these at zero. A home looks at a handful of leaves an interval, a watcher
    /// who finds a header withheld needs one demand: a hundred in one go and one more a minute hinder neither.
    uint32 private constant DEFAULT_CAPACITY = 100;
    uint32 private constant DEFAULT_LEAK_S = 60;

    /// @notice Somebody wants to know. `leaf` is the place of the auction that the question is about, `subject` the
    /// account, or for `Auction` the place that is asked for.
    event Demanded(
        uint256 indexed id,
        uint256 indexed headerIndex,
        address indexed demander,
        Question question,
        uint256 leaf,
        uint32 subject,
        uint64 deadlineS
    );
    /// @notice The demand was answered. `evidence` is the whole call, so that everybody learns what was withheld.
    event Answered(uint256 indexed id, address indexed answerer, bytes evidence);
    /// @notice The demand was not answered, the header is void.
    event Unanswered(uint256 indexed id, address indexed demander);
    /// @notice The demand's header is void or final; the demander has his fee back.
    event Refunded(uint256 indexed id, address indexed demander);

    /// @notice Headers become final before a demand could be answered and challenged.
    error WindowTooShort(uint64 answerWindowS);
    /// @notice No open demand has that number.
    error UnknownDemand(uint256 id);
    /// @notice The demand is about something else: another question, header or subject.
    error NotAsked(uint256 id);
    /// @notice There is nothing that an answer could show.
    error NothingToAsk();
    /// @notice The time was over at `untilS`.
    error TooLate(uint256 untilS);
    /// @notice The demand can still be answered, until `untilS` inclusive.
    error StillAnswerable(uint256 untilS);
    /// @notice The demand's header stands and is not final.
    error StillOpen(uint256 id);

    /// @notice How long a demand may be answered.
    uint64 public immutable answerWindowS;
    /// @notice What a demand costs, in nano-currency.
    uint256 public immutable feeNano;
    /// @notice How many demands an address may make in one go.
    uint32 public immutable capacity;
    /// @notice How long it takes until an address may make one more.
    uint32 public immutable leakS;
    /// @dev How long after posting a header may be asked about; with the settlement's grace, token and the fee in its
    /// base units, what never changes there and need not be asked again.
    uint256 private immutable _askableS;
    uint64 internal immutable _graceIntervals;
    IERC20 private immutable _token;
    uint256 private immutable _fee;

    /// @notice Number of demands ever made; the last one's id.
    uint256 public demandCount;
    mapping(uint256 id => Demand demand) private _demands;
    mapping(address demander => uint128 drainedAtS) private _buckets;

    constructor(uint64 answerWindowS_, uint256 feeNano_, uint32 capacity_, uint32 leakS_) {
        uint256 finalityWindowS = settlement.finalityWindowS();
        // 2 A and one second, or no header could ever be asked about.
        if (answerWindowS_ == 0 || finalityWindowS <= 2 * uint256(answerWindowS_)) {
            revert WindowTooShort(answerWindowS_);
        }
        _askableS = finalityWindowS - 2 * uint256(answerWindowS_);
        _graceIntervals = settlement.graceIntervals();
        answerWindowS = answerWindowS_;
        feeNano = feeNano_;
        capacity = capacity_ == 0 ? DEFAULT_CAPACITY : capacity_;
        leakS = leakS_ == 0 ? DEFAULT_LEAK_S : leakS_;
        _token = IERC20(settlement.token());
        _fee = feeNano_ * settlement.tokenUnitsPerNano();
    }

    /// @notice Voids the header of a demand that nobody answered in time. By anyone; the reward and the fee are the
    /// demander's.
    function challengeUnanswered(uint256 id, ISettlement.HeaderProof calldata proof) external {
        Demand memory asked = _open(id);
        if (block.timestamp <= asked.deadlineS) revert StillAnswerable(asked.deadlineS);
        _requireHeader(id, asked, proof);
        if (!_stands(asked)) revert NotAsked(id);

        delete _demands[id];

        emit Unanswered(id, asked.demander);
        settlement.voidHeader(proof, asked.demander, ISettlement.Lie.Withheld, uint8(asked.question) + 1);
        _token.safeTransfer(asked.demander, _fee);
    }

    /// @notice Gives the fee back where the header is void, or became final without anybody having challenged. By
    /// anyone.
    function refund(uint256 id) external {
        Demand memory asked = _open(id);
        bool isOver = block.timestamp > asked.deadlineS && asked.headerIndex < settlement.finalisedCount();
        if (!isOver && _stands(asked)) revert StillOpen(id);

        delete _demands[id];

        emit Refunded(id, asked.demander);
        _token.safeTransfer(asked.demander, _fee);
    }

    /// @notice The open demand with that number. Numbers start at 1.
    function demandOf(uint256 id) external view returns (Demand memory) {
        return _open(id);
    }

    /// @dev Takes down a demand about a header that is open, and its fee.
    function _demand(ISettlement.HeaderProof calldata proof, Topic memory topic) internal returns (uint256 id) {
        _requireOpen(proof);
        uint256 untilS = settlement.postedAt(proof.index) + _askableS;
        if (block.timestamp > untilS) revert TooLate(untilS);

        _buckets[msg.sender] = LeakyBucket.pour(_buckets[msg.sender], capacity, leakS);
        id = ++demandCount;
        uint64 deadlineS = uint64(block.timestamp) + answerWindowS;
        // Casting: a settlement counts headers and times in 40 bits.
        _demands[id] = Demand({
            headerHash: Messages.hashStruct(proof.header),
            subject: topic.subjectHash,
            demander: msg.sender,
            deadlineS: uint40(deadlineS),
            headerIndex: uint40(proof.index),
            question: topic.question
        });

        emit Demanded(id, proof.index, msg.sender, topic.question, topic.leaf, topic.subject, deadlineS);
        _token.safeTransferFrom(msg.sender, address(this), _fee);
    }

    /// @dev The demand asks that (see `_subject`) about that header, and there is time.
    function _requireAsked(uint256 id, ISettlement.HeaderProof calldata proof, bytes32 subjectHash) internal view {
        Demand memory asked = _open(id);
        if (block.timestamp > asked.deadlineS) revert TooLate(asked.deadlineS);
        if (asked.subject != subjectHash) revert NotAsked(id);
        _requireHeader(id, asked, proof);
    }

    /// @dev The evidence was found to answer: the fee is the caller's.
    function _answered(uint256 id) internal {
        delete _demands[id];
        emit Answered(id, msg.sender, msg.data);
        _token.safeTransfer(msg.sender, _fee);
    }

    /// @dev What a demand asks and what about: an auction, or what else a hash stands for, and a number.
    function _subject(Question question, bytes32 about, uint256 number) internal pure returns (bytes32) {
        return keccak256(abi.encode(question, about, number));
    }

    function _open(uint256 id) private view returns (Demand memory asked) {
        asked = _demands[id];
        if (asked.demander == address(0)) revert UnknownDemand(id);
    }

    function _requireHeader(uint256 id, Demand memory asked, ISettlement.HeaderProof calldata proof) private pure {
        if (asked.headerIndex != proof.index || asked.headerHash != Messages.hashStruct(proof.header)) {
            revert NotAsked(id);
        }
    }

    /// @dev Whether the header that was asked about has not been void since: what stands at its index is no younger
    /// than the demand.
    function _stands(Demand memory asked) private view returns (bool) {
        return asked.headerIndex < settlement.headerCount()
            && settlement.postedAt(asked.headerIndex) <= asked.deadlineS - answerWindowS;
    }
}
