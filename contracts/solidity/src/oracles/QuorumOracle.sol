// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {AggregatorV3Interface} from "../interfaces/AggregatorV3Interface.sol";
import {ICollar} from "../interfaces/ICollar.sol";
import {ICollarListener} from "../interfaces/ICollarListener.sol";
import {Collars} from "../libraries/Collars.sol";
import {Domain} from "../libraries/Domain.sol";

/// @title The median of k signed quotes out of n reporters, and a collar around it.
/// @notice
///     reporters   sign Quote(value, observedAtS), EIP-712, for this oracle alone
///     anybody     submit(quotes ascending, signatures) → admitted one by one → median → round
///     readers     latestRoundData, isStale; collar = last good answer ± width, wider with every `staleAfterS` of age
///     listener    is told at once what the collar follows from, so that whoever needs it often need not ask
/// An oracle bounds a price, it never sets one: prices come from auctions, and the collar only refuses what no honest
/// auction gives. When reporters fall silent nothing stops; the collar opens step by step up to [minimum, maximum].
/// While fewer than half of a quorum lie, the median lies between values of honest reporters.
abstract contract QuorumOracle is AccessManaged, AggregatorV3Interface, ICollar {
    /// @notice What a reporter signs: the value, and when it was observed, in UTC seconds.
    struct Quote {
        int128 value;
        uint64 observedAtS;
    }

    /// @notice What governance may change.
    struct Terms {
        /// @dev Quotes older than this are refused.
        uint32 maxAgeS;
        /// @dev An answer of this age is stale; with every further such time the collar doubles its width.
        uint32 staleAfterS;
        /// @dev How far an answer may lie from the last one without the wide quorum, of the last one's absolute value …
        uint16 maxDeviationPermille;
        /// @dev … and in units of the value on top, because a share of a value near zero is nothing.
        uint64 deviationSlack;
        /// @dev How far the collar of a fresh answer reaches to both sides.
        uint64 width;
    }

    /// @dev All that the collar needs but for the range, in one slot.
    struct Standing {
        int64 answer;
        uint40 observedAtS;
        uint40 round;
        uint32 staleAfterS;
        uint64 width;
    }

    struct Admission {
        uint8 quorum;
        uint8 wideQuorum;
        uint32 maxAgeS;
        uint16 maxDeviationPermille;
        uint64 deviationSlack;
    }

    struct Round {
        int64 answer;
        uint40 observedAtS;
        uint40 answeredAtS;
        uint8 quotes;
    }

    /// @dev `place` counts from 1; 0 is nobody's. The last observation outlives a removal, so that a reporter who comes
    /// back cannot be quoted from before.
    struct Reporter {
        uint8 place;
        uint40 lastObservedAtS;
    }

    /// @notice Most reporters: their places are bits, and each quote costs its sender a signature check.
    uint256 public constant MAX_REPORTERS = 32;

    /// @notice Gas for telling the listener: some five times what keeping a copy in one slot costs.
    uint256 public constant LISTENER_GAS = 50_000;

    /// @notice EIP-712 type hash of a quote.
    bytes32 public constant QUOTE_TYPE_HASH = keccak256("Quote(int128 value,uint64 observedAtS)");

    /// @notice A round was answered from `quotes` quotes, the oldest of them observed at `observedAtS`.
    event Answered(uint80 indexed roundId, int64 answer, uint64 observedAtS, uint256 quotes);
    /// @notice Who reports now, and how many of them an answer needs.
    event ReportersSet(address[] reporters, uint8 quorum, uint8 wideQuorum);
    /// @notice The terms changed.
    event TermsSet(Terms terms);
    /// @notice Who is told what the collar follows from; zero for nobody.
    event ListenerSet(ICollarListener indexed listener);
    /// @notice The listener did not take what it was told; its copy is older than this.
    event ListenerFailed(ICollarListener indexed listener);

    /// @notice An address that must not be zero is zero.
    error ZeroAddress();
    /// @notice Too many or too few reporters, one of them twice, or a quorum that is no majority of them.
    error ReportersIllegal();
    /// @notice A range without values, or terms under which there is no answer.
    error TermsIllegal();
    /// @notice Not one signature for each quote.
    error SignatureMissing();
    /// @notice Fewer quotes than an answer needs.
    error QuorumMissed(uint256 quotes, uint256 quorum);
    /// @notice The quote at `place` is lower than the one before it.
    error NotAscending(uint256 place);
    /// @notice The value is outside [minimum, maximum].
    error OutOfRange(int128 value);
    /// @notice The quote is of the future.
    error InFuture(uint64 observedAtS);
    /// @notice The quote is older than is allowed.
    error TooOld(uint64 observedAtS);
    /// @notice The signature at `place` is no reporter's.
    error NotByReporter(uint256 place);
    /// @notice A reporter has signed two of the quotes.
    error ReporterTwice(address reporter);
    /// @notice The quote is not newer than the last one that counted of that reporter.
    error NotNewer(address reporter);
    /// @notice The oldest of the quotes is not newer than the oldest of the last round.
    error OlderThanAnswer(uint64 observedAtS);
    /// @notice The answer is too far from the last one for so few quotes.
    error DeviatesTooFar(int64 answer, int64 last);
    /// @notice The new listener has no code, or does not take what it is told.
    error ListenerRefuses(ICollarListener listener);
    /// @notice Too little gas is left to tell the listener.
    error GasTooLow();
    /// @notice No round has that number.
    error NoAnswer(uint80 roundId);

    /// @notice No answer is lower.
    int64 public immutable minimum;
    /// @notice No answer is higher.
    int64 public immutable maximum;
    /// @inheritdoc AggregatorV3Interface
    uint8 public immutable decimals;
    /// @inheritdoc AggregatorV3Interface
    uint256 public constant version = 1;
    /// @notice Who is told what the collar follows from; zero for nobody.
    ICollarListener public listener;

    Standing private _standing;
    Admission private _admission;
    address[] private _reporters;
    mapping(address reporter => Reporter) private _places;
    mapping(uint256 round => Round) private _rounds;

    /// @notice `authority` is the AccessManager that names reporters and terms. Until reporters are named nothing is
    /// admitted and the collar is [minimum_, maximum_].
    constructor(address authority_, uint8 decimals_, int64 minimum_, int64 maximum_, Terms memory terms)
        AccessManaged(authority_)
    {
        if (authority_ == address(0)) revert ZeroAddress();
        if (minimum_ > maximum_) revert TermsIllegal();
        decimals = decimals_;
        minimum = minimum_;
        maximum = maximum_;
        _setTerms(terms);
    }

    /// @notice Answers the next round with the median of `quotes`, sorted ascending, each with its reporter's signature
    /// at the same place. By anybody: the signatures speak, not the sender.
    function submit(Quote[] calldata quotes, bytes[] calldata signatures) external returns (uint80 roundId) {
        Admission memory admission = _admission;
        if (signatures.length != quotes.length) revert SignatureMissing();
        if (admission.quorum == 0 || quotes.length < admission.quorum) {
            revert QuorumMissed(quotes.length, admission.quorum);
        }
        uint64 oldestS = _admit(quotes, signatures, admission.maxAgeS);

        // Of an even number the lower of the two in the middle: an answer is always a value that somebody has signed.
        // Casting: every value lies in [minimum, maximum], which are int64.
        int64 answer = int64(quotes[(quotes.length - 1) / 2].value);
        Standing memory last = _standing;
        if (last.round != 0) {
            if (oldestS <= last.observedAtS) revert OlderThanAnswer(oldestS);
            if (quotes.length < admission.wideQuorum && _deviates(answer, last.answer, admission)) {
                revert DeviatesTooFar(answer, last.answer);
            }
        }

        // Casting: no time is after this block's, and no more quotes were admitted than there are reporters.
        last.answer = answer;
        last.observedAtS = uint40(oldestS);
        last.round += 1;
        _standing = last;
        roundId = last.round;
        _rounds[roundId] = Round(answer, uint40(oldestS), uint40(block.timestamp), uint8(quotes.length));
        emit Answered(roundId, answer, oldestS, quotes.length);
        _tell();
    }

    /// @notice Names the reporters, how many of them an answer needs, and how many one that deviates. Restricted.
    /// @dev A quorum is more than half of the reporters, so that any two answers share one and no minority answers.
    function setReporters(address[] calldata reporters_, uint8 quorum, uint8 wideQuorum) external restricted {
        if (
            reporters_.length > MAX_REPORTERS || wideQuorum > reporters_.length || quorum > wideQuorum
                || 2 * uint256(quorum) <= reporters_.length
        ) revert ReportersIllegal();
        for (uint256 i = 0; i < _reporters.length; i++) {
            _places[_reporters[i]].place = 0;
        }
        for (uint256 i = 0; i < reporters_.length; i++) {
            Reporter storage reporter = _places[reporters_[i]];
            if (reporters_[i] == address(0) || reporter.place != 0) revert ReportersIllegal();
            reporter.place = uint8(i + 1);
        }
        _reporters = reporters_;
        _admission.quorum = quorum;
        _admission.wideQuorum = wideQuorum;
        emit ReportersSet(reporters_, quorum, wideQuorum);
    }

    /// @notice Sets the terms. Restricted.
    function setTerms(Terms calldata terms) external restricted {
        _setTerms(terms);
        _tell();
    }

    /// @notice Names who is told what the collar follows from, now and whenever it changes; zero for nobody. Restricted.
    /// @dev Strict here and nowhere else: what does not listen from the start is a mistake, what ceases to is noted.
    function setListener(ICollarListener newListener) external restricted {
        listener = newListener;
        emit ListenerSet(newListener);
        if (address(newListener) == address(0)) return;
        if (address(newListener).code.length == 0 || !_isTold(newListener)) revert ListenerRefuses(newListener);
    }

    /// @inheritdoc ICollar
    function collar() external view returns (int64 floor, int64 cap, uint64 observedAtS) {
        Standing memory last = _standing;
        observedAtS = last.observedAtS;
        (floor, cap) = Collars.around(last.answer, observedAtS, last.staleAfterS, last.width, minimum, maximum);
    }

    /// @inheritdoc ICollar
    function standing() external view returns (int64, uint40, uint32, uint64, int64, int64) {
        Standing memory last = _standing;
        return (last.answer, last.observedAtS, last.staleAfterS, last.width, minimum, maximum);
    }

    /// @notice Whether there is no answer, or only one that is too old.
    function isStale() external view returns (bool) {
        Standing memory last = _standing;
        return last.round == 0 || block.timestamp - last.observedAtS >= last.staleAfterS;
    }

    /// @inheritdoc AggregatorV3Interface
    function getRoundData(uint80 roundId) external view returns (uint80, int256, uint256, uint256, uint80) {
        return _roundData(roundId);
    }

    /// @inheritdoc AggregatorV3Interface
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return _roundData(_standing.round);
    }

    /// @notice Who reports, and how many of them an answer needs.
    function reporters() external view returns (address[] memory all, uint8 quorum, uint8 wideQuorum) {
        return (_reporters, _admission.quorum, _admission.wideQuorum);
    }

    /// @notice When the newest quote that counted of `reporter` was observed; 0 where none did.
    function lastObservedAtS(address reporter) external view returns (uint64) {
        return _places[reporter].lastObservedAtS;
    }

    /// @notice The terms in force.
    function termsInForce() external view returns (Terms memory) {
        Admission memory admission = _admission;
        return Terms(
            admission.maxAgeS,
            _standing.staleAfterS,
            admission.maxDeviationPermille,
            admission.deviationSlack,
            _standing.width
        );
    }

    /// @notice EIP-712 domain separator of this oracle: a quote for another one does not count here.
    function domainSeparator() public view returns (bytes32) {
        return Domain.separator(block.chainid, address(this));
    }

    /// @notice What a reporter signs for `quote`.
    function digestOf(Quote calldata quote) external view returns (bytes32) {
        return Domain.digest(domainSeparator(), _hashStruct(quote));
    }

    /// @dev Judges every quote and notes it with its reporter. Returns the oldest observation.
    function _admit(Quote[] calldata quotes, bytes[] calldata signatures, uint256 maxAgeS)
        private
        returns (uint64 oldestS)
    {
        bytes32 separator = domainSeparator();
        uint256 seen;
        oldestS = type(uint64).max;
        for (uint256 i = 0; i < quotes.length; i++) {
            Quote calldata quote = quotes[i];
            if (i != 0 && quote.value < quotes[i - 1].value) revert NotAscending(i);
            if (quote.value < minimum || quote.value > maximum) revert OutOfRange(quote.value);
            if (quote.observedAtS > block.timestamp) revert InFuture(quote.observedAtS);
            if (quote.observedAtS + maxAgeS < block.timestamp) revert TooOld(quote.observedAtS);

            bytes32 digest = Domain.digest(separator, _hashStruct(quote));
            (address signer,,) = ECDSA.tryRecoverCalldata(digest, signatures[i]);
            Reporter memory reporter = _places[signer];
            if (reporter.place == 0) revert NotByReporter(i);
            uint256 bit = 1 << reporter.place;
            if (seen & bit != 0) revert ReporterTwice(signer);
            if (quote.observedAtS <= reporter.lastObservedAtS) revert NotNewer(signer);

            seen |= bit;
            // Casting: the observation is not after this block.
            _places[signer].lastObservedAtS = uint40(quote.observedAtS);
            if (quote.observedAtS < oldestS) oldestS = quote.observedAtS;
        }
    }

    function _setTerms(Terms memory terms) private {
        // A collar of no width would never open, and stale after no time would divide by zero.
        if (terms.maxAgeS == 0 || terms.staleAfterS == 0 || terms.width == 0) revert TermsIllegal();
        _admission.maxAgeS = terms.maxAgeS;
        _admission.maxDeviationPermille = terms.maxDeviationPermille;
        _admission.deviationSlack = terms.deviationSlack;
        _standing.staleAfterS = terms.staleAfterS;
        _standing.width = terms.width;
        emit TermsSet(terms);
    }

    /// @dev Whatever the listener does, the oracle goes on.
    function _tell() private {
        ICollarListener told = listener;
        if (address(told) == address(0)) return;
        // Anybody submits; nobody may do so with so little gas that the oracle hears and the listener does not. A cold
        // address and the arguments cost less than what is asked for on top.
        if (gasleft() < LISTENER_GAS + 5_000) revert GasTooLow();
        if (!_isTold(told)) emit ListenerFailed(told);
    }

    function _isTold(ICollarListener told) private returns (bool done) {
        Standing memory last = _standing;
        bytes memory input = abi.encodeCall(
            ICollarListener.onStanding, (last.answer, last.observedAtS, last.staleAfterS, last.width, minimum, maximum)
        );
        // In assembly, so that nothing of what is returned is copied, however long it is.
        assembly ("memory-safe") {
            done := call(LISTENER_GAS, told, 0, add(input, 0x20), mload(input), 0x00, 0x00)
        }
    }

    function _roundData(uint80 roundId) private view returns (uint80, int256, uint256, uint256, uint80) {
        Round memory round = _rounds[roundId];
        if (round.answeredAtS == 0) revert NoAnswer(roundId);
        return (roundId, round.answer, round.observedAtS, round.answeredAtS, roundId);
    }

    function _deviates(int256 answer, int256 last, Admission memory admission) private pure returns (bool) {
        // Casting: both are absolute values.
        uint256 distance = uint256(answer > last ? answer - last : last - answer);
        uint256 allowed = uint256(last < 0 ? -last : last) * admission.maxDeviationPermille / 1_000;
        return distance > allowed + admission.deviationSlack;
    }

    function _hashStruct(Quote calldata quote) private pure returns (bytes32) {
        return keccak256(abi.encode(QUOTE_TYPE_HASH, quote.value, quote.observedAtS));
    }
}
